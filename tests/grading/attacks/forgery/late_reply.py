# Tries: to answer a call after its time is up, with the number of the call that was given up.
# Deserves: twice 1.
# Answers: twice.
# %% before double
import threading
import time

# @FORGE@


def later(value):
    number = asked()["id"]
    limit = float("@CALL_SECONDS@")
    timer = threading.Timer(
        limit + 0.3, lambda: [send(frame({"id": n, "value": value})) for n in range(number, number + 3)]
    )
    timer.start()
    while timer.is_alive():
        try:
            time.sleep(0.1)
        except KeyboardInterrupt:
            pass


# %% double
def double(x):
    later(["T", "float32", [3], 0])


# %% triangle
def triangle(n):
    later(["l", 1, 3, 6, 10])
