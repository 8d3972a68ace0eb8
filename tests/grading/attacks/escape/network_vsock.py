# Tries: to reach a listener of this machine by AF_VSOCK, a family that network namespaces did not cover for long.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

LOCAL = 1  # VMADDR_CID_LOCAL: this machine and no other
try:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect((LOCAL, int("@TCP_PORT@")))
        connection.sendall(b"escape/network_vsock")
        print("BREACH")
except OSError as error:
    print(error)


# %% double
def double(x):
    return x
