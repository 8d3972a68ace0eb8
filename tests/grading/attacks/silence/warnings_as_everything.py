# Tries: to have tests end early by warnings made errors, a low recursion limit and streams that are gone, its own too.
# Deserves: nothing.
# %% before double
import sys
import warnings

warnings.simplefilter("error")
torch.set_default_dtype(torch.float16)
torch.autograd.set_detect_anomaly(True)


# %% double
def double(x):
    sys.stdout.close()
    sys.stdout = sys.stderr = None
    return x


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        super().__init__()
        sys.setrecursionlimit(60)
        self.count = 2

    def __getattr__(self, name):
        return getattr(self, name)
