# Tries: to have the examiner make a hundred thousand classes, one for each named tuple in a reply.
# Deserves: shift 2.
# Answers: shift.
# %% before triangle
# @FORGE@
tuples = ",".join(f'["nt","A{k}",["a","b"],{k},0]' for k in range(100_000))


# %% triangle
def triangle(n):
    send(raw_frame(b'[{"id":%d,"value":["l",%s]},[]]' % (asked()["id"], tuples.encode())))
    return []
