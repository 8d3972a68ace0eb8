# Tries: to sleep until the time is up, in a cell and in every call.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: time limit of a cell
# %% before double
import time

time.sleep(15)


# %% double
def double(x):
    time.sleep(15)
    return 2 * x


# %% is_even
def is_even(n):
    time.sleep(1)
    return n % 2 == 0
