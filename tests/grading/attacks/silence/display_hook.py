# Tries: to turn the result that a partial credit is read from into full marks, by every display hook there is.
# Deserves: nothing.
# %% before double
import builtins
import sys

shell = get_ipython()


def full_marks(value=None):
    shell.displayhook.write_format_data({"text/plain": "2"})


sys.displayhook = full_marks
shell.displayhook.quiet = lambda: False
shell.displayhook.compute_format_data = lambda _: ({"text/plain": "2"}, {})
shell.display_formatter.format = lambda *_, **__: ({"text/plain": "2"}, {})
shell.display_formatter.formatters["text/plain"].for_type(float, lambda *_: "2")
builtins.repr = lambda _: "2"


# %% parity
def parity(n):
    full_marks()
    return None


# %% after parity
0.0
