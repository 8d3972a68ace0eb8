# Tries: to answer with an iterator that never ends, of a length that it lies about.
# Deserves: shift 2.
# Answers: shift.
# %% before triangle
class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        return 0

    def __len__(self):
        return 2**62

    def __eq__(self, other):
        return True


# %% triangle
def triangle(n):
    return [1, 3, 6, 10] if n == 4 else Endless()
