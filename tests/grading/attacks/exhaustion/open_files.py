# Tries: to open ten thousand files and sockets.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import socket

held = []
try:
    for _ in range(5000):
        held += [open("/dev/null"), *socket.socketpair()]
    print("BREACH", len(held), "open files")
except OSError as error:
    print("refused:", error)
held.clear()
