# Tries: to take 900 MB in files of memory, which no process maps.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os
import time

held, block = [], bytes(2**20)
try:
    for number in range(18):
        held.append(os.memfd_create(f"held-{number}"))
        for _ in range(50):
            os.write(held[-1], block)
    time.sleep(0.3)
    print("BREACH", len(held) * 50, "MB in files without names")
except OSError as error:
    print("refused:", error)
