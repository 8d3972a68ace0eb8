# Tries: to write what is no message at all on the kernel's own socket.
# Deserves: shift 2, twice 1.
# Answers: shift, twice.
# %% before double
import os


# @FORGE@
# %% double
def double(x):
    for text in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[{}, 1]",
        b"[{}, [1e9]]",
        b"[[], []]",
        b"\xff\xfe",
        b"NaN",
        b'[{"id": {}}, []]',
    ):
        send(raw_frame(text))
    return x


# %% RunningMean
class RunningMean(nn.Module):
    def __init__(self, size):
        send(frame({"id": asked()["id"], "value": ["h", 2**70, [1, None], 3]}))


# %% triangle
def triangle(n):
    send(os.urandom(100_000))
    return []


# %% parity
def parity(n):
    send(frame({"id": asked()["id"]}, b"123", [1, 1, 2]))
    return 0
