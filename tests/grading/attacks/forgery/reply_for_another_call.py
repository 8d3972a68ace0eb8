# Tries: to answer the next call together with this one, and calls that nobody made.
# Deserves: shift 2, twice 1.
# Answers: shift, twice.
# %% before double
# @FORGE@
# %% double
def double(x):
    number = asked()["id"]
    body = torch.full((3,), 2.0).numpy().tobytes()
    for n in (number, number + 1, number + 2, -1, True, "1", None, 1e9):
        send(frame({"id": n, "value": ["T", "float32", [3], 0]}, body))
    return x


# %% triangle
def triangle(n):
    number = asked()["id"]
    for n in range(number + 1, number + 50):
        send(frame({"id": n, "value": ["l", 1, 3, 6, 10]}))
    return [1, 3, 6, 10]
