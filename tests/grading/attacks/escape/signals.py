# Tries: to signal its parent, its siblings and whatever else has a number. The signal is 0, or one that nobody minds.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import signal

if os.getppid():
    print("BREACH a parent", os.getppid())
for pid in [*range(1, 5000), int("@PID@")]:
    if pid != os.getpid():
        try:
            os.kill(pid, 0)
            os.kill(pid, signal.SIGURG)
            print("BREACH", pid)
        except OSError:
            pass
        try:
            os.close(os.pidfd_open(pid))
            print("BREACH pidfd", pid)
        except OSError:
            pass
for group in (os.getpgid(0), int("@PID@")):
    try:
        os.killpg(group, 0)
        if group != os.getpgid(0):
            print("BREACH group", group)
    except OSError:
        pass


# %% double
def double(x):
    return x
