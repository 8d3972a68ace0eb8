# Tries: to read what open files, pipes and sockets it finds itself with.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import stat

for name in os.listdir("/proc/self/fd"):
    number = int(name)
    try:
        kind = os.fstat(number).st_mode
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue
    print(number, target)
    if stat.S_ISDIR(kind) or (stat.S_ISREG(kind) and not target.startswith("/scratch")):
        print("BREACH", target)
    if number > 2 and stat.S_ISFIFO(kind):
        print("BREACH a pipe", target)


# %% double
def double(x):
    return x
