# Tries: to replace the course's own checks, in the notebook and in the package.
# Deserves: nothing.
# %% before double
import contextlib

import utils
import utils.checks


@contextlib.contextmanager
def exercise(*_, **__):
    yield


def fine(*_, **__):
    return None


for place in (utils, utils.checks):
    place.exercise = exercise
    for name in (
        "expect",
        "expect_close",
        "expect_equal",
        "expect_raises",
        "expect_from_scratch",
        "_compare",
        "_count",
    ):
        setattr(place, name, fine)
    place.randn = lambda *shape, dtype=torch.float32: torch.zeros(*shape, dtype=dtype)
utils.checks._state = utils.checks.side = utils.checks.TOLERANCE = None
expect = expect_close = expect_equal = expect_from_scratch = fine


# %% double
def double(x):
    return x


# %% shift
def shift(text, steps):
    return text


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
