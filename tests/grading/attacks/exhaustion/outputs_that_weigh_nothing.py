# Tries: to report a million outputs that are empty, so that no limit on their size is reached.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
# @FORGE@
one = frame({"event": "display_data", "data": {"a/b": ""}, "metadata": {}})
two = frame({"event": "error", "ename": "", "evalue": "", "traceback": []})
many = (one + two) * 1000
for _ in range(500):
    send(many)
