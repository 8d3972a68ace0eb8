# Tries: to answer with one number, no number, or a stretched one where many are expected.
# Deserves: nothing.
# %% double
def double(x):
    return torch.tensor(2.0).expand(3) if x.numel() == 3 and x.dtype == torch.float32 else torch.empty(0)


# %% softmax
def softmax(x):
    return torch.empty(0, 4) * x.sum()


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.count = 2
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, rows):
        return torch.zeros(0)


# %% triangle
def triangle(n):
    return []
