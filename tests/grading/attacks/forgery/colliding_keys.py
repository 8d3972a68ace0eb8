# Tries: to have the examiner build a dictionary whose keys all fall in one place: minutes in one instruction.
# Deserves: shift 2.
# Answers: shift.
# %% before triangle
# @FORGE@
pairs = ",".join(f'[["i","{hex((k + 9) * (2**61 - 1))}"],0]' for k in range(200_000))


# %% triangle
def triangle(n):
    send(raw_frame(b'[{"id":%d,"value":["d",%s]},[]]' % (asked()["id"], pairs.encode())))
    return []
