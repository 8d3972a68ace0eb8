# Tries: to hang when an object is shown: in the message of an assert, in a traceback, in a comparison.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import time


class Slow:
    def __str__(self):
        time.sleep(15)
        return "slow"

    __repr__ = __str__

    def __eq__(self, other):
        time.sleep(15)


# %% double
def double(x):
    return Slow()


# %% triangle
def triangle(n):
    time.sleep(0.6 * float("@CALL_SECONDS@"))
    return Slow()
