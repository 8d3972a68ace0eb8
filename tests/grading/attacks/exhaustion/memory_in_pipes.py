# Tries: to fill pipes and sockets that nobody reads.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import fcntl
import os

held, filled = [], 0
try:
    for _ in range(450):
        ends = os.pipe()
        held += ends
        try:
            fcntl.fcntl(ends[1], 1031, 2**20)  # F_SETPIPE_SZ
        except OSError:
            pass
        os.set_blocking(ends[1], False)
        try:
            while True:
                filled += os.write(ends[1], bytes(2**20))
        except BlockingIOError:
            pass
except OSError as error:
    print("refused:", error)
for number in held:
    os.close(number)
if filled > 200 * 2**20:
    print("BREACH", filled // 2**20, "MB in pipes")
print(filled)
