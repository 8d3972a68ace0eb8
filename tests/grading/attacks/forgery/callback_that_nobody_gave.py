# Tries: to call functions of the examiner that it was not given, or that an earlier test gave it.
# Deserves: shift 2.
# Answers: shift.
# %% before double
# @FORGE@
# %% double
def double(x):
    send(frame({"event": "callback", "number": 1, "args": ["t", ["t"], ["d"]]}))
    return x


# %% twice
def twice(f, x):
    global kept
    kept = f
    return 13


# %% clear
def clear(values):
    kept([])
    values[:] = [0, 0]


# %% after clear
for number in (0, -1, 99, "1", None, [1]):
    send(frame({"event": "callback", "number": number, "args": ["t", ["t", 1], ["d"]]}))
send(frame({"event": "callback", "number": 1, "args": ["t", ["t", 1], ["d"]]}))
