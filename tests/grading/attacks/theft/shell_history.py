# Tries: to find the cells of others, and the tests, in IPython's history, in the line cache and in the shell's names.
# Deserves: nothing.
# %% before double
import linecache

shell = get_ipython()
texts = [*map(str, shell.history_manager.input_hist_raw), *map(str, shell.user_ns.values())]
texts += ["".join(entry[2]) for entry in linecache.cache.values() if len(entry) > 2]
texts += ["".join(linecache.getlines(f"<test test_{name}>")) for name in ("double", "shift", "triangle")]
word = "-".join(["canary", "of", "the", "hidden", "tests"])
if any(word in text for text in texts):
    print("BREACH the hidden tests")
if any("honest_" + "first" in text for text in texts):
    print("BREACH another student")


# %% double
def double(x):
    return x
