# Tries: to reach the listener outside by IPv6, and by IPv4 in IPv6.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for host in ("::1", "::ffff:127.0.0.1", "::"):
    try:
        with socket.socket(socket.AF_INET6) as connection:
            connection.settimeout(1)
            connection.connect((host, int("@TCP_PORT@")))
            connection.sendall(b"escape/network_ipv6")
            print("BREACH", host)
    except OSError as error:
        print(host, error)


# %% double
def double(x):
    return x
