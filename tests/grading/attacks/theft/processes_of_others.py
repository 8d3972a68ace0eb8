# Tries: to read command lines, environments, working folders and open files of every process.
# Deserves: nothing.
# %% before double
import os
from pathlib import Path

mine = os.getpid()
for pid in range(1, 3000):
    if pid == mine or not Path(f"/proc/{pid}").exists():
        continue
    print("BREACH process", pid, Path(f"/proc/{pid}/cmdline").read_bytes()[:100])
for name in ("environ", "cmdline", "cwd", "exe", "root", "mountinfo", "fd"):
    path = f"/proc/{os.getppid()}/{name}"
    try:
        print("BREACH parent", os.listdir(path) if name == "fd" else open(path, "rb").read(10))
    except OSError as error:
        print(name, error)


# %% double
def double(x):
    return x
