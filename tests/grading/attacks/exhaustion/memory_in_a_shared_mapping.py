# Tries: to take 900 MB in a shared mapping whose pages are unmapped again, so that no process seems to hold them.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import mmap
import time

try:
    held = mmap.mmap(-1, 900 * 2**20)
    block = b"x" * (50 * 2**20)
    for start in range(0, 900 * 2**20, len(block)):
        held[start : start + len(block)] = block
        held.madvise(mmap.MADV_DONTNEED, start, len(block))
    time.sleep(0.3)
    print("BREACH 900 MB in a shared mapping", held[0])
except OSError as error:
    print("refused:", error)
