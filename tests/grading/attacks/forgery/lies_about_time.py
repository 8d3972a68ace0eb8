# Tries: to report a cost of its own choosing, and a success that was none.
# Deserves: shift 2.
# Answers: shift.
# %% before double
# @FORGE@
send(frame({"id": asked()["id"], "ok": True, "cpu": float("nan")}))
# %% double
def double(x):
    send(frame({"id": asked()["id"], "value": None, "cpu": -1e308, "stop": True, "ok": True}))
    raise SystemExit
