# Tries: to hand open descriptors to the examiner, and to take some from it.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import socket


# @FORGE@
# %% double
def double(x):
    wire = kernel()._sock
    body = frame({"event": "stream", "name": "stdout", "text": "with descriptors"})
    socket.send_fds(wire, [body], [os.open("/dev/zero", os.O_RDONLY)] * 50)
    wire.setblocking(False)
    try:
        _, received, _, _ = socket.recv_fds(wire, 1000, 20, socket.MSG_PEEK)
        if received:
            print("BREACH", received)
    except BlockingIOError:
        pass
    wire.setblocking(True)
    return x
