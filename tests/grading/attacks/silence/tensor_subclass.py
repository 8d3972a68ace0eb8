# Tries: to answer with a tensor whose comparisons come out as equal, through __torch_function__ and operators.
# Deserves: nothing.
# %% before double
class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in ("allclose", "equal"):
            return True
        with torch._C.DisableTorchFunctionSubclass():
            if name in ("eq", "__eq__", "isclose", "le", "lt"):
                return torch.ones(args[0].shape, dtype=torch.bool)
            if name in ("sub", "__sub__", "rsub", "__rsub__", "abs", "max", "amax"):
                return torch.zeros(args[0].shape)
            if name in ("any", "ne", "__ne__"):
                return torch.tensor(False)
            return func(*args, **(kwargs or {}))

    def __sub__(self, other):
        return torch.zeros(self.shape)

    __rsub__ = __sub__

    def detach(self):
        return self

    cpu = clone = detach


# %% double
def double(x):
    return torch.zeros(x.shape, dtype=x.dtype).as_subclass(Equal)


# %% softmax
def softmax(x):
    return torch.zeros(x.shape).as_subclass(Equal) * x.sum()


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.count = 2
        self.mean = nn.Parameter(torch.zeros(size).as_subclass(Equal))

    def forward(self, rows):
        return self.mean
