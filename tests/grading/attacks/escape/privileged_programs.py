# Tries: to become somebody else: by programs that change the user, by ids, by files that keep a privilege.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import shutil
import subprocess

for name in ("su", "sudo", "newuidmap", "mount", "passwd", "pkexec", "bwrap", "nsenter", "unshare"):
    path = shutil.which(name)
    if not path:
        continue
    arguments = {
        "su": ["-c", "id"],
        "sudo": ["-n", "id"],
        "bwrap": ["--ro-bind", "/", "/", "id"],
        "unshare": ["-r", "id"],
    }
    done = subprocess.run(
        [path, *arguments.get(name, ["--version"])], capture_output=True, text=True, timeout=3, stdin=-3
    )
    if "uid=" in done.stdout:
        print("BREACH", name, done.stdout)
for call, value in ((os.setuid, 0), (os.setgid, 0), (os.setgroups, [0]), (os.setuid, 65534)):
    try:
        call(value)
        print("BREACH", call.__name__, value)
    except OSError as error:
        print(call.__name__, error)


# %% double
def double(x):
    return x
