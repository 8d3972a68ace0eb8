# Tries: to read keys, histories and configuration in home folders and in /etc.
# Deserves: nothing.
# %% before double
import glob
import os

patterns = ["/root/*", "/root/.*", "/home/*", "@HOME@/*", "@HOME@/.*", "/etc/shadow", "/etc/passwd", "/etc/ssh/*"]
patterns += [
    "/var/*",
    "/run/*",
    "/mnt/*",
    "/media/*",
    "/opt/*",
    "/srv/*",
    "/sys/*",
    "/boot/*",
    "/work/shared",
    "/work/.*",
]
found = [path for pattern in patterns for path in glob.glob(pattern)]
found = [path for path in found if not path.endswith(("/.", "/..")) and os.access(path, os.R_OK)]
# An empty folder on the way to a bind mount gives nothing away.
found = [path for path in found if not os.path.isdir(path) or any(os.scandir(path))]
found = [path for path in found if not any(prefix.startswith(path) for prefix in ("@PREFIX@", "@BASE@"))]
if found:
    print("BREACH", found[:5])


# %% double
def double(x):
    return x
