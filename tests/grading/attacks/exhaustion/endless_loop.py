# Tries: to go on for ever, in a cell and in a call.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: time limit of a cell
# %% before double
while True:
    pass


# %% double
def double(x):
    while True:
        pass
