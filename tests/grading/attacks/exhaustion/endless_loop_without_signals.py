# Tries: to go on for ever and to let no signal through.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# Reported: did not react
# %% before double
import signal

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    try:
        while True:
            pass
    except BaseException:
        pass


# %% double
def double(x):
    while True:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
            while True:
                pass
        except BaseException:
            pass
