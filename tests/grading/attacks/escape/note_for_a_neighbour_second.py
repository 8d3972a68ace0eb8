# Tries: to leave a note where another submission finds it: files, segments, keyrings, queues, sockets. Two hand it in.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import ctypes
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
note = "@MARKER_NAME@"
number = sum(note.encode()) + 77_000
for place in ("/tmp", "/dev/shm", "/scratch", "/scratch/home", "/var/tmp", "/dev/mqueue"):
    try:
        os.close(os.open(f"{place}/{note}-note", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        print("BREACH a note in", place)
    except OSError:
        pass
if libc.shmget(number, 100, 0) >= 0 or libc.semget(number, 1, 0) >= 0 or libc.msgget(number, 0) >= 0:
    print("BREACH a note in a segment")
segment, semaphore, queue = (
    libc.shmget(number, 100, 0o1600),
    libc.semget(number, 1, 0o1600),
    libc.msgget(number, 0o1600),
)
# System calls add_key (248), keyctl (250) of x86-64: search (10) and, so that nothing stays, a time-out (15).
name = f"{note}-note".encode()
for keyring in (-3, -4, -5):  # of the session, of the user, of the user's session
    if libc.syscall(250, 10, keyring, b"user", name, 0) >= 0:
        print("BREACH a note in a keyring", keyring)
for keyring in (-3, -4, -5):
    key = libc.syscall(248, b"user", name, b"note", ctypes.c_size_t(4), keyring)
    if key >= 0:
        libc.syscall(250, 15, key, 120)
listener = socket.socket(socket.AF_UNIX)
try:
    listener.bind(f"\0{note}-note")
    listener.listen()
except OSError:
    print("BREACH a note in a socket")
for package in ("utils", "torch"):
    try:
        open(os.path.join(os.path.dirname(sys.modules[package].__file__), f"{note}.py"), "w").close()
        print("BREACH a note in", package)
    except OSError:
        pass


# %% double
def double(x):
    return x
