# Tries: to write 300 MB in each of the folders that may be written, and a hundred thousand files.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os
import tempfile

written, block = 0, b"x" * 2**20
for place in (".", "/tmp", "/dev/shm", "/scratch", "/dev", "/dev/mqueue", "/run", "/var/tmp"):
    try:
        with tempfile.TemporaryFile(dir=place) as file, tempfile.TemporaryFile(dir=place) as other:
            for target in (file, other):
                for _ in range(150):
                    target.write(block)
                    target.flush()
                    written += 1
    except OSError as error:
        print(place, error)
if written > 64 * 4 + 10:
    print("BREACH", written, "MB")
os.makedirs("many")
try:
    for number in range(100_000):
        os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
    print("BREACH a hundred thousand files")
except OSError as error:
    print("refused:", error)
