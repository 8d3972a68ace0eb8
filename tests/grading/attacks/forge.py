# Put into the notebooks of forgers: the kernel that they run in, its socket, and frames as the wire has them.
import gc
import json
import struct
import sys


def kernel():
    """The object that serves the examiner, in this very process."""
    return next(o for o in gc.get_objects() if type(o).__name__ == "Kernel" and hasattr(o, "_sock"))


def asked():
    """The request that is being answered."""
    frame = sys._getframe()
    while not isinstance(frame.f_locals.get("message"), dict) or "op" not in frame.f_locals["message"]:
        frame = frame.f_back
    return frame.f_locals["message"]


def frame(message, body=b"", lengths=None):
    header = json.dumps([message, [len(body)] if lengths is None and body else lengths or []])
    return raw_frame(header.encode(), body)


def raw_frame(header, body=b""):
    return struct.pack("!IQ", len(header), len(body)) + header + body


def send(data):
    kernel()._sock.sendall(data)


def answer(value, body=b""):
    """Answer the call with a tree of our own, in place of what the kernel would say."""
    number, plain = asked()["id"], type(kernel()).send
    send(frame({"id": number, "value": value}, body))
    kernel().send = lambda message, buffers=(): message.get("id") == number or plain(kernel(), message, buffers)
