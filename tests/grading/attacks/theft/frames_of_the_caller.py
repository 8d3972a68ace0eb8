# Tries: to find what the test expects in the frames above the call.
# Deserves: nothing.
# %% before double
import sys


def stolen(wanted):
    frame = sys._getframe()
    while frame:
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if name in ("expected", "reference", "leaf", "right") and wanted(value):
                print("BREACH", name)
                return value
        frame = frame.f_back


# %% double
def double(x):
    found = stolen(lambda value: isinstance(value, torch.Tensor))
    return x if found is None else found


# %% softmax
def softmax(x):
    found = stolen(lambda value: isinstance(value, torch.Tensor) and value.shape == x.shape)
    return x if found is None else found
