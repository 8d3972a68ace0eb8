# Tries: to announce a message of 2**63 bytes, and one of 4 GB in the header, and to send little of it.
# Deserves: shift 2, twice 1.
# Answers: shift, twice.
# %% before double
# @FORGE@
# %% double
def double(x):
    send(struct.pack("!IQ", 10, 2**63 - 1) + b"[" * 1000)
    return x


# %% triangle
def triangle(n):
    send(struct.pack("!IQ", 2**32 - 1, 0) + b"[" * 1000)
    return []
