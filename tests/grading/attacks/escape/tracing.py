# Tries: to trace its parent, its siblings and the grader, and to read and write their memory.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
SEIZE, DETACH = 0x4206, 17


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


room = ctypes.create_string_buffer(8)
here = Part(ctypes.addressof(room), 8)
for pid in {os.getppid(), 1, 2, 3, *range(4, 300), int("@PID@")} - {os.getpid(), 0}:
    if libc.ptrace(SEIZE, pid, 0, 0) == 0:
        print("BREACH traced", pid)
        libc.ptrace(DETACH, pid, 0, 0)
    there = Part(ctypes.addressof(room), 8)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0:
        print("BREACH read", pid)
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        print("BREACH memory of", pid)
    except OSError:
        pass


# %% double
def double(x):
    return x
