# Tries: to send values nested a million deep: as a message, as a value, as JSON, as an argument handed back.
# Deserves: shift 2, twice 1.
# Answers: shift, twice.
# %% before double
# @FORGE@
deep = []
for _ in range(1_000_000):
    deep = [deep]


# %% double
def double(x):
    send(raw_frame(b"[" * 1_000_000 + b"]" * 1_000_000))
    return x


# %% triangle
def triangle(n):
    return deep


# %% parity
def parity(n):
    value = 0
    for _ in range(300):
        value = ["l", value]
    answer(value)


# %% clear
def clear(values):
    values.append(values)
