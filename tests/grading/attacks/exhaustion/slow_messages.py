# Tries: to send its answers a byte at a time, and to read what it is asked just as slowly.
# Deserves: triangle 2.
# Answers: triangle.
# %% before double
import time


# @FORGE@
# %% double
def double(x):
    for byte in frame({"id": asked()["id"], "value": ["T", "float32", [3], 0]}, bytes(12)):
        send(bytes([byte]))
        time.sleep(0.05)
    return x
