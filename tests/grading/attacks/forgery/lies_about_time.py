# Tries: to report a cost of its own choosing, and a success that was none.
# Deserves: shift 2, twice 1.
# Answers: shift, twice.
# %% before double
# @FORGE@
plain = type(kernel()).send


def lie(self, message, buffers=()):
    for cost in ("cpu", "seconds"):
        message = message | {cost: float("nan") if "value" in message else -1e308}
    plain(self, message | {"ok": True, "stop": "yes"}, buffers)


type(kernel()).send = lie


# %% double
def double(x):
    return x


# %% triangle
raise RuntimeError("a cell that fails, and says that it did not")
