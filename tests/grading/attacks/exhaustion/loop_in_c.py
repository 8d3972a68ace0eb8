# Tries: to go on for a long time in one instruction, where Python handles no signal.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: did not react
# %% double
def double(x):
    sum(range(10**10))
