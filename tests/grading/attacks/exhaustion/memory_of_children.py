# Tries: to take a gigabyte in ten processes, none of which takes much.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: MB of memory
# %% before double
import os
import time

children = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        held = bytearray(os.urandom(2**20)) * 100
        time.sleep(3)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
print("BREACH a gigabyte in ten processes")
