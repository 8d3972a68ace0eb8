# Tries: to double its processes until nothing else runs: 256 of them at most, for eight seconds.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os
import time

first = os.getpid()
for _ in range(8):
    try:
        os.fork()
    except OSError:
        break
time.sleep(8 if os.getpid() != first else 5)
if os.getpid() != first:
    os._exit(0)
living = sum(name.isdigit() for name in os.listdir("/proc"))
if living > 200:
    print("BREACH", living, "processes")
