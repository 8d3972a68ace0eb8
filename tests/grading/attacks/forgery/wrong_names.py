# Tries: to answer the question for names with values of its own, for names that were not asked, and for built-in ones.
# Deserves: nothing.
# %% before double
# @FORGE@

answer = type(kernel())._answer


def lie(self, message, decoder, encoder):
    if message["op"] == "names":
        names = ["expect_close", "exercise", "all", "map", "__builtins__", "__in_place__", *message["names"]]
        return {"values": {name: ["b", 0] for name in names}}
    return answer(self, message, decoder, encoder)


type(kernel())._answer = lie


# %% double
def double(x):
    return 2 * x


# %% shift
def shift(text, steps):
    return "bcd"
