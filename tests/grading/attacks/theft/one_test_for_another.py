# Tries: to keep what one call is given and to answer a later one with it.
# Deserves: nothing.
# %% before double
seen = []


def best(x):
    """Whatever was seen that is closest to twice x."""
    seen.append(x.clone())
    like = [y for y in seen if y.shape == x.shape and y.dtype == x.dtype]
    return min(like, key=lambda y: float((y - 2 * x).abs().max()) if y is not x else 9e9)


# %% double
def double(x):
    return best(x)


# %% softmax
def softmax(x):
    return best(x).requires_grad_()


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.count, self.mean = 2, torch.zeros(size)

    def forward(self, rows):
        return best(rows[0])
