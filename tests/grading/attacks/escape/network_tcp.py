# Tries: to reach the listener outside by TCP, on every address of this very machine.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for host in ("127.0.0.1", "localhost", "0.0.0.0"):
    try:
        with socket.create_connection((host, int("@TCP_PORT@")), timeout=1) as connection:
            connection.sendall(b"escape/network_tcp")
            print("BREACH", host)
    except OSError as error:
        print(host, error)


# %% double
def double(x):
    with socket.create_connection(("127.0.0.1", int("@TCP_PORT@")), timeout=1):
        print("BREACH from a call")
