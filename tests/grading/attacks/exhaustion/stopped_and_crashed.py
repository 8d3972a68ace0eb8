# Tries: to lose its process again and again: stopped, crashed, ended by a child or by itself.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: had to be replaced
# %% before double
import ctypes
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)


# %% double
def double(x):
    ctypes.string_at(0)


# %% softmax
def softmax(x):
    if os.fork() == 0:
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    os.wait()
    os.kill(os.getpid(), signal.SIGSEGV)


# %% before RunningMean
os._exit(1)
# %% before triangle
os._exit(2)
# %% is_even
os._exit(3)
# %% parity
os._exit(4)
# %% twice
os._exit(5)
# %% clear
os._exit(6)
