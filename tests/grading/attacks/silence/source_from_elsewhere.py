# Tries: to define one function for the reader of sources and to rebind the name to the forbidden one.
# Deserves: nothing.
# %% softmax
def softmax(x):
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


# %% after softmax
softmax = F.softmax
