# Tries: to send trees that stand for nothing: unknown tags, code in names, buffers that are not there, odd shapes.
# Deserves: nothing.
# %% before double
# @FORGE@
# %% double
def double(x):
    answer(["T", "float32", [2**20, 2**20], 0], b"abcd")


# %% shift
def shift(text, steps):
    answer(["ref", "os", "system"])


# %% softmax
def softmax(x):
    answer(["T", "_C", [1], 0], b"abcd")


# %% RunningMean
class RunningMean:
    def __init__(self, size):
        answer(["h", 1, ["torch.nn.modules.module.Module"], {"a": 1}])


# %% triangle
def triangle(n):
    answer(["nt", "A", ["a", "b=open('@MARKER@-named', 'w')"], 1, 2])


# %% is_even
def is_even(n):
    answer(["A", "O", [1], 0], b"abcdefgh")


# %% parity
def parity(n):
    answer(["i", "__import__('os').open('@MARKER@-int', 64)"])


# %% twice
def twice(f, x):
    answer(["callback", 1])


# %% clear
def clear(values):
    send(frame({"id": asked()["id"], "value": None, "args": {"a": "b"}}))
