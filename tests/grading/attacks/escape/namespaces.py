# Tries: to get capabilities in namespaces of its own, and to enter those of others.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
kinds = {"user": 0x10000000, "mount": 0x20000, "process": 0x20000000, "network": 0x40000000, "uts": 0x4000000}
for name, flag in {**kinds, "ipc": 0x8000000, "cgroup": 0x2000000, "time": 0x80, "all": 0x1E020000}.items():
    child = os.fork()
    if child == 0:
        os._exit(libc.unshare(flag) == 0)
    if os.waitpid(child, 0)[1]:
        print("BREACH unshare", name)
for pid in ("self", "1", str(os.getppid())):
    for name in os.listdir(f"/proc/{pid}/ns") if os.path.exists(f"/proc/{pid}/ns") else ():
        try:
            number = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        except OSError:
            continue
        child = os.fork()
        if child == 0:
            os._exit(libc.setns(number, 0) == 0)
        if os.waitpid(child, 0)[1]:
            print("BREACH setns", pid, name)
        os.close(number)
status = open("/proc/self/status").read()
for line in status.splitlines():
    if line.startswith("Cap") and int(line.split()[1], 16):
        print("BREACH", line)
    if line.startswith("NoNewPrivs") and line.split()[1] != "1":
        print("BREACH", line)


# %% double
def double(x):
    return x
