# Tries: to send a tensor and a text that are larger than any message may be.
# Deserves: twice 1.
# Answers: twice.
# %% double
def double(x):
    return torch.ones(40 * 2**20, dtype=torch.uint8)


# %% shift
def shift(text, steps):
    return "b" * (40 * 2**20)


# %% triangle
def triangle(n):
    return [0] * 3_000_000
