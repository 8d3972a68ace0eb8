"""A filter of system calls for student code: what namespaces and limits do not confine, the kernel refuses.

- Sockets of families that have no place in a network namespace, such as vsock, which leads out of a virtual machine.
- Memory that belongs to no process and so is in no count: files without a name, segments and queues of System V, large
  shared mappings without a file. What lies in a file (/dev/shm too) counts for the scratch folder.
- Keyrings, which forked processes share; io_uring, whose calls no filter sees; bpf, perf and userfaultfd.

The program is classic BPF, made for the machine's own architecture; calls of another one (32 bits) are refused.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

MAX_SHARED = 64 * 2**10  # bytes of a shared mapping without a file: enough for flags and counters
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; arguments have 8 bytes, low half first
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SHARED, _ANONYMOUS = 0x01, 0x20  # flags of mmap

_REFUSED = ("memfd_create", "memfd_secret", "shmget", "msgget", "add_key", "request_key", "keyctl")
_REFUSED += ("io_uring_setup", "bpf", "perf_event_open", "userfaultfd")
#: machine → its number, and numbers of system calls: socket, mmap, then those refused altogether
_MACHINES = {
    "x86_64": (0xC000003E, 41, 9, (319, 447, 29, 68, 248, 249, 250, 425, 321, 298, 323)),
    "aarch64": (0xC00000B7, 198, 222, (279, 447, 194, 186, 217, 218, 219, 425, 280, 241, 282)),
}


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter for `machine` as instructions (code, jump if true, jump if false, constant)."""
    architecture, socket_call, mmap_call, refused = _MACHINES[machine]

    def load(offset: int) -> tuple[int, int, int, int]:
        return (_LOAD, 0, 0, offset)

    def argument(index: int, high: bool = False) -> tuple[int, int, int, int]:
        return load(_ARGUMENTS + 8 * index + 4 * high)

    def give(value: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, value)

    deny = give(_ERRNO | errno.EPERM)
    code = [load(_ARCHITECTURE), (_EQUAL, 1, 0, architecture), deny]
    code += [load(_NUMBER), (_GREATER_OR_EQUAL, 0, 1, 0x40000000), deny]  # x32, on x86
    for number in refused:
        code += [(_EQUAL, 0, 1, number), deny]
    families = [(_EQUAL, len(_FAMILIES) - i, 0, family) for i, family in enumerate(_FAMILIES)]
    families = [argument(0), *families, give(_ERRNO | errno.EAFNOSUPPORT), give(_ALLOW)]
    code += [(_EQUAL, 0, len(families), socket_call), *families]
    shared = [
        argument(3),
        (_ANY_BIT, 0, 6, _SHARED),
        (_ANY_BIT, 0, 5, _ANONYMOUS),
        argument(1, high=True),
        (_EQUAL, 0, 2, 0),
        argument(1),
        (_GREATER_OR_EQUAL, 0, 1, MAX_SHARED + 1),
        give(_ERRNO | errno.ENOMEM),
        give(_ALLOW),
    ]
    return [*code, (_EQUAL, 0, len(shared), mmap_call), *shared, give(_ALLOW)]


def install() -> bool:
    """Filter this process and all that come from it, for good. False where that cannot be had.

    Needs no_new_privs, which stays set.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.byteorder != "little":
        return False
    code = program(platform.machine())
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HxxxxxxQ", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero):  # PR_SET_NO_NEW_PRIVS
        return False
    return libc.prctl(22, ctypes.c_ulong(2), ctypes.c_char_p(header), zero, zero) == 0  # PR_SET_SECCOMP, a filter
