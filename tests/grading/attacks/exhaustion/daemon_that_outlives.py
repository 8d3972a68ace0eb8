# Tries: to leave processes behind: in sessions of their own, without a parent, deaf to signals.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import subprocess
import sys

program = (
    "import os, signal, time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "for n in range(1, 65):\n"
    "    if n not in (9, 19, 32, 33): signal.signal(n, signal.SIG_IGN)\n"
    "time.sleep(60)\n"
)
subprocess.run([sys.executable, "-S", "-c", program, "@MARKER@-daemon"])
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)", "@MARKER@-child"], start_new_session=True)


# %% double
def double(x):
    subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(60)", "@MARKER@-called"], start_new_session=True
    )
    return x
