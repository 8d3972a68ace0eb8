# Tries: to reach the listener outside by an abstract Unix socket, which no file system hides.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    try:
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.connect("\0@ABSTRACT@")
            connection.sendall(b"escape/network_abstract_socket")
            print("BREACH", kind)
    except OSError as error:
        print(kind, error)


# %% double
def double(x):
    return x
