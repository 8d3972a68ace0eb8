# Tries: to mount, to move, to uncover and to make writable.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
RDONLY, REMOUNT, BIND, MOVE, EXPIRE, DETACH = 1, 32, 4096, 8192, 4, 2
if os.getppid():
    print("BREACH not in a sandbox")  # where mounts might be those of the machine: no further
    raise SystemExit
os.makedirs("a", exist_ok=True)
os.makedirs("b", exist_ok=True)


def attempt(what, result, fine=()):
    error = ctypes.get_errno()
    if result == 0 or error in fine:
        print("BREACH", what, os.strerror(error))


for kind in (b"tmpfs", b"proc", b"sysfs", b"devpts", b"mqueue", b"overlay", b"cgroup2"):
    attempt(f"mount {kind}", libc.mount(b"none", b"a", kind, 0, None))
attempt("bind /", libc.mount(b"/", b"a", None, BIND, None))
attempt("bind", libc.mount(b"a", b"b", None, BIND, None))
for path in (b"/", b"/usr", b"/proc", b"/dev", b"/course/utils", b"@PREFIX@"):
    attempt(f"make {path} writable", libc.mount(None, path, None, REMOUNT | BIND, None))
for path in (b"/tmp", b"/scratch", b"/dev/shm", b"/proc", b"/"):
    attempt(f"unmount {path}", libc.umount2(path, EXPIRE), (errno.EAGAIN, errno.EBUSY))
    attempt(f"detach {path}", libc.umount2(path, DETACH))
attempt("pivot_root", libc.syscall(155, b"a", b"a"), (errno.EBUSY, errno.EINVAL))
attempt("open_tree", -1 if libc.syscall(428, -100, b"/", 1) < 0 else 0)
attempt("fsopen", -1 if libc.syscall(430, b"tmpfs", 0) < 0 else 0)
attempt("chroot", libc.chroot(b"."))


# %% double
def double(x):
    return x
