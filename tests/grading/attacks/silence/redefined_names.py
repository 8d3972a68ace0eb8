# Tries: to give names of its own to what tests use: helpers of the lesson, numbers, built-in functions, torch.
# Deserves: nothing.
# %% before double
import builtins
import types

factor = 1.0
reference = randn = lambda x, *_, **__: x
nothing = types.SimpleNamespace(__enter__=None)


def expect_close(*_, **__):
    pass


def all(_):
    return True


def any(_):
    return False


def map(*_):
    return []


def sum(_):
    return 220


def bin(_):
    return ""


for name in ("all", "any", "map", "sum", "bin", "chr", "len"):
    setattr(builtins, name, lambda *_: None)


# %% double
def double(x):
    return x


# %% triangle
def triangle(n):
    return [1, 3, 6, 10]


# %% is_even
def is_even(n):
    return None


# %% parity
def parity(n):
    return None
