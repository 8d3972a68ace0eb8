# Tries: to reach the listener outside by UDP.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"escape/network_udp", (host, int("@UDP_PORT@")))
    except OSError as error:
        print(host, error)


# %% double
def double(x):
    return x
