# Tries: to print and to answer with half characters, which no file can hold.
# Deserves: shift 2.
# Answers: shift.
# %% before double
from IPython.display import display

half = "\ud83d \udcff"
print(half)
display({"text/plain": half, "text/html": half, half: half, "application/json": {half: [half]}}, raw=True)


# %% double
def double(x):
    print(half)
    raise ValueError(half)


# %% triangle
def triangle(n):
    return [half]


# %% after triangle
half
# %% after is_even
raise type("Half", (Exception,), {"__str__": lambda _: half})
