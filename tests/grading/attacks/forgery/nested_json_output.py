# Tries: to print JSON so deeply nested that whoever copies the notebook runs out of stack.
# Deserves: shift 2.
# Answers: shift.
# %% before double
# @FORGE@
from IPython.display import display

for depth in (80, 200, 330, 450, 480, 490):
    value = []
    for _ in range(depth):
        value = [value]
    try:
        display({"application/json": value}, raw=True)
    except RecursionError:
        print("its own stack ends at", depth)
for depth in range(900, 1000, 3):
    nested = b"[" * depth + b"]" * depth
    send(raw_frame(b'[{"event":"display_data","data":{"application/json":%s},"metadata":{}},[]]' % nested))


# %% double
def double(x):
    return x
