# Tries: to call the function that a test gave without end, with arguments that it cannot take.
# Deserves: shift 2.
# Answers: shift.
# %% twice
def twice(f, x):
    while True:
        try:
            f(*range(50), x=[x] * 1000)
        except TypeError:
            f([[0] * 1000] * 100)
