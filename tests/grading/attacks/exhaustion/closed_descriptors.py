# Tries: to close, and to fill, every descriptor that the kernel needs.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os

os.closerange(0, 1000)


# %% double
def double(x):
    for number in range(3, 100):
        try:
            os.write(number, b"x" * 10_000_000)
        except OSError:
            pass
    return x
