# Tries: to raise its own limits and its priority.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import resource

for name in ("RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE"):
    limit = getattr(resource, name)
    soft, hard = resource.getrlimit(limit)
    if hard == resource.RLIM_INFINITY:
        print("BREACH no limit", name)
    try:
        resource.setrlimit(limit, (hard + 1, hard + 1))
        print("BREACH", name)
    except (OSError, ValueError) as error:
        print(name, error)
for attempt in (lambda: os.nice(-1), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))):
    try:
        attempt()
        print("BREACH priority")
    except OSError as error:
        print(error)


# %% double
def double(x):
    return x
