# Tries: to answer with NaN and infinities, which compare with nothing.
# Deserves: nothing.
# %% before double
nan, inf = float("nan"), float("inf")


# %% double
def double(x):
    return torch.full_like(x, nan)


# %% softmax
def softmax(x):
    return x * inf


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.count = nan
        self.register_buffer("mean", torch.full((size,), nan))

    def forward(self, rows):
        return self.mean


# %% triangle
def triangle(n):
    return [nan] * n


# %% is_even
def is_even(n):
    return nan


# %% parity
def parity(n):
    return nan


# %% clear
def clear(values):
    values[:] = [nan] * 3
