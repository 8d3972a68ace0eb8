# Tries: to answer with an object that is equal to everything, close to everything, and true.
# Deserves: nothing.
# %% before double
class Yes:
    def __eq__(self, other):
        return True

    __le__ = __lt__ = __ge__ = __gt__ = __contains__ = __instancecheck__ = __eq__

    def __ne__(self, other):
        return False

    def __getattr__(self, name):
        return self

    def __call__(self, *_, **__):
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __getitem__ = (
        __abs__
    ) = __call__

    def __bool__(self):
        return True

    def __len__(self):
        return 4

    def __iter__(self):
        return iter([self] * 4)

    def __float__(self):
        return 2.0

    __int__ = __index__ = lambda self: 2

    def __hash__(self):
        return 0

    @property
    def __class__(self):
        return torch.Tensor

    @classmethod
    def __torch_function__(cls, *_, **__):
        return True

    def __array__(self, *_, **__):
        raise TypeError

    def __repr__(self):
        return "2"


yes = Yes()
# %% double
double = yes
# %% shift
shift = yes


# %% softmax
def softmax(x):
    return yes


# %% RunningMean
RunningMean = yes
# %% triangle
triangle = yes
# %% is_even
is_even = yes
# %% parity
parity = yes
# %% twice
twice = yes


# %% clear
def clear(values):
    values[:] = [yes] * 3
