# Tries: to take a gigabyte of memory, in steps that an allocator grants.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double

held = []
try:
    for _ in range(50):
        held.append(bytearray(20 * 2**20))
    print("BREACH", len(held) * 20, "MB")
except MemoryError:
    print("refused after", len(held) * 20, "MB")
    held.clear()


# %% double
def double(x):
    held = [torch.ones(2**20, 5) for _ in range(50)]
    print("BREACH", len(held) * 20, "MB of tensors")
    return 2 * x
