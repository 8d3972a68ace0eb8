# Tries: to take 900 MB in shared segments of System V, which no process has attached.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import ctypes
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
held = []
for _ in range(18):
    segment = libc.shmget(0, ctypes.c_size_t(50 * 2**20), 0o600)
    address = libc.shmat(segment, None, 0) if segment >= 0 else None
    if not address or address == ctypes.c_void_p(-1).value:
        print("refused:", ctypes.get_errno())
        break
    ctypes.memset(address, 1, 50 * 2**20)
    libc.shmdt(ctypes.c_void_p(address))
    held.append(segment)
    time.sleep(0.02)
else:
    time.sleep(0.3)
    print("BREACH", len(held) * 50, "MB in segments")
for segment in held:
    libc.shmctl(segment, 0, None)
