# Tries: to find the expected tensors, or the text of the tests, among all objects of the process.
# Deserves: nothing.
# %% before double
import gc


def stolen(x):
    for thing in gc.get_objects():
        try:
            if isinstance(thing, torch.Tensor) and thing is not x and thing.shape == x.shape:
                if torch.allclose(thing, x + x) and not torch.equal(thing, x):
                    print("BREACH a tensor")
                    return thing
            if isinstance(thing, dict):
                thing = " ".join(text for text in thing.values() if isinstance(text, str))
            if isinstance(thing, str) and "canary-of-the-" + "hidden-tests" in thing:
                print("BREACH the hidden tests")
        except Exception:
            pass
    return x


# %% double
def double(x):
    return stolen(x)
