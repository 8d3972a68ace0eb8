# Tries: to start two hundred processes, each of which would start two more.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os
import time

started = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
        started += 1
    time.sleep(0.5)
    print("BREACH", started, "processes")
except OSError as error:
    print("refused:", error)
