# Tries: to use F.softmax where it is forbidden, and to show another source to whoever asks.
# Deserves: nothing.
# %% softmax
def softmax(x):
    return F.softmax(x, dim=-1)


# %% after softmax
import ast
import inspect
import linecache

text = "def softmax(x):\n    e = x.exp()\n    return e / e.sum(-1, keepdim=True)\n"
inspect.getsource = inspect.findsource = lambda _: text
ast.walk = lambda _: iter(())
ast.get_source_segment = lambda *_, **__: text
linecache.getlines = lambda *_: text.splitlines(True)
innocent = lambda x: x  # noqa: E731
softmax.__wrapped__ = innocent
softmax.__code__ = softmax.__code__.replace(co_filename="innocent.py", co_name="innocent")
softmax.__name__ = softmax.__qualname__ = "triangle"
