# Tries: to make devices, to open those of the machine, and to write on the terminal of whoever grades.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os
import stat

known = {
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "ptmx",
    "stdin",
    "stdout",
    "stderr",
    "core",
    "fd",
    "shm",
    "pts",
}
others = set(os.listdir("/dev")) - known - {"console"}
if others:
    print("BREACH", others)
for kind, numbers in ((stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1))):
    try:
        os.mknod("device", kind | 0o600, os.makedev(*numbers))
        os.unlink("device")
        print("BREACH mknod")
    except OSError as error:
        print(error)
for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/kvm", "/dev/vsock"):
    try:
        number = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        continue
    print("BREACH", path)
    os.close(number)
for number in range(3):
    if os.isatty(number):
        print("BREACH a terminal")


# %% double
def double(x):
    return x
