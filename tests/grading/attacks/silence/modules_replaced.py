# Tries: to put modules of its own in the place of utils and torch.
# Deserves: nothing.
# %% before double
import sys
import types


class Anything(types.ModuleType):
    def __getattr__(self, name):
        return lambda *_, **__: True


for name in [name for name in sys.modules if name.split(".")[0] in ("utils", "torch", "numpy", "json", "struct")]:
    sys.modules[name] = Anything(name)


# %% double
def double(x):
    return x


# %% shift
def shift(text, steps):
    return text
