# Tries: to print a million lines in a cell, and in a call of a test.
# Deserves: shift 2, triangle 2, is_even 1.
# Answers: triangle.
# Reported: was cut
# %% before double
for number in range(1_000_000):
    print("line", number)


# %% shift
def shift(text, steps):
    print("x" * 10_000_000)
    return "".join(chr((ord(letter) - 97 + steps) % 26 + 97) for letter in text)


# %% is_even
def is_even(n):
    import sys

    print("y" * 1000, file=sys.stderr)
    return n % 2 == 0
