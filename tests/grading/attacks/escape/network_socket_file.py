# Tries: to reach the listener outside by a Unix socket that is a file.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for path in ("@SOCKET@", "/proc/1/root/@SOCKET@", "/proc/self/root/@SOCKET@", "../../@SOCKET@"):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(b"escape/network_socket_file")
            print("BREACH", path)
    except OSError as error:
        print(path, error)


# %% double
def double(x):
    return x
