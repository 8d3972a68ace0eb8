# Tries: to answer each test with values of kinds that no test expects.
# Deserves: nothing.
# %% double
def double(x):
    return [x.tolist()]


# %% shift
def shift(text, steps):
    return b"bcd"


# %% softmax
def softmax(x):
    return {"weights": x}


# %% RunningMean
class RunningMean:
    count = True
    mean = "0000"

    def __init__(self, size):
        pass

    def __call__(self, rows):
        return type

    def load_state_dict(self, state):
        return self


# %% triangle
def triangle(n):
    return torch.tensor([1, 3, 6, 10])


# %% is_even
def is_even(n):
    return is_even


# %% parity
def parity(n):
    return torch.Size([]), torch.float32, torch.device("cpu"), ..., range(3), slice(1), 1j


# %% twice
def twice(f, x):
    return twice


# %% clear
def clear(values):
    return [0, 0, 0]
