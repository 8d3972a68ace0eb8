# Tries: to answer with the right numbers in the wrong dtype, and with the wrong ones in a dtype that hides it.
# Deserves: nothing.
# %% double
def double(x):
    return (2 * x).half() if x.numel() > 3 else (2 * x).double()


# %% softmax
def softmax(x):
    e = x.exp()
    return (e / e.sum(-1, keepdim=True)).to(torch.complex64)


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.count = torch.tensor(2.0)
        self.register_buffer("mean", torch.ones(size, dtype=torch.int64))

    def forward(self, rows):
        return self.mean
