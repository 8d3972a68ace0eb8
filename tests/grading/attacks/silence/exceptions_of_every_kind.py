# Tries: to raise what a test, a loop or a runner takes for the end of its work.
# Deserves: nothing.
# %% before double
class AssertionError(BaseException):
    """Not the one that tests raise."""

    def __str__(self):
        raise self

    def __getattr__(self, name):
        raise self


class SkipTest(Exception):
    pass


# %% double
def double(x):
    raise SkipTest("skipped")


# %% shift
def shift(text, steps):
    raise AssertionError


# %% RunningMean
class RunningMean:
    def __new__(cls, *_):
        raise StopAsyncIteration


# %% triangle
def triangle(n):
    raise Warning("only a warning")


# %% is_even
def is_even(n):
    raise StopIteration


# %% parity
def parity(n):
    raise ExceptionGroup("many", [StopIteration(), ValueError()])


# %% twice
def twice(f, x):
    raise StopIteration(13)


# %% clear
def clear(values):
    raise EOFError
