# Tries: to start two hundred threads.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import threading
import time

started = 0
try:
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
        started += 1
    time.sleep(0.5)
    print("BREACH", started, "threads")
except RuntimeError as error:
    print("refused:", error)
    time.sleep(3)
