# Tries: to take outputs of a test back, or to replace them, from a thread that goes on after the call.
# Deserves: nothing.
# %% before double
import threading
import time

# @FORGE@


def clear_for_ever():
    for _ in range(300):
        send(frame({"event": "clear", "wait": False}))
        send(frame({"event": "display_data", "data": {"text/plain": "2"}, "display_id": "d", "update": True}))
        send(frame({"event": "execute_result", "data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1}))
        time.sleep(0.01)


threading.Thread(target=clear_for_ever, daemon=True).start()


# %% double
def double(x):
    return x


# %% triangle
def triangle(n):
    return [1, 3, 6, 10]
