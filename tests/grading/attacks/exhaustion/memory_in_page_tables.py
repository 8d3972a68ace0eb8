# Tries: to take 900 MB in the tables that describe memory, by reading a page here and there of a vast empty mapping.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import mmap
import time

MAP_NORESERVE = 0x4000
try:
    held = mmap.mmap(-1, 450 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE, prot=mmap.PROT_READ)
    held.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, len(held), 2**21):
        held[start]
    time.sleep(0.3)
    print("BREACH 900 MB of tables")
except OSError as error:
    print("refused:", error)
