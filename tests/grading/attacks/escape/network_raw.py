# Tries: to open sockets that see or forge what goes over the network, and to bring an interface up.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import socket

for family, kind, protocol in (
    (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
):
    try:
        socket.socket(family, kind, protocol).close()
        print("BREACH", family)
    except OSError as error:
        print(family, error)
others = [name for _, name in socket.if_nameindex() if name != "lo"]
if others:
    print("BREACH", others)
try:
    with open("/dev/net/tun", "rb"):
        print("BREACH tun")
except OSError as error:
    print(error)


# %% double
def double(x):
    return x
