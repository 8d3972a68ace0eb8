# Tries: to report outputs that no notebook may hold.
# Deserves: shift 2.
# Answers: shift.
# %% before double
# @FORGE@
for event in (
    {"event": "stream", "name": "stdin", "text": "x"},
    {"event": "stream", "name": "stdout", "text": ["x"]},
    {"event": "stream", "name": ["stdout"], "text": "x"},
    {"event": "error", "ename": None, "evalue": {}, "traceback": [1, None, {}]},
    {"event": "error", "traceback": "x"},
    {"event": "display_data", "data": {"text/plain": 7, "image/png": [1], "": "x", "no type": "y", "a/b": None}},
    {"event": "display_data", "data": {"application/json": float("nan"), "application/vnd.x+json": float("inf")}},
    {"event": "execute_result", "data": {"text/plain": "x"}, "execution_count": 10**400},
    {"event": "display_data", "data": {"text/plain": "x"}, "display_id": ["d"]},
    {"event": "display_data", "data": {"text/plain": "x"}, "display_id": "d", "update": 1},
    {"event": "display_data", "data": [], "metadata": []},
    {"event": ["display_data"]},
    {"event": {"a": 1}},
):
    send(frame(event))


for depth in range(880, 1000, 3):
    nested = b"[" * depth + b"]" * depth
    send(raw_frame(b'[{"event":"error","ename":%s,"evalue":%s,"traceback":[%s]},[]]' % (nested, nested, nested)))


# %% double
def double(x):
    return x
