# Tries: to look into the function that a test hands over: its code, its globals, its closure.
# Deserves: nothing.
# %% twice
def twice(f, x):
    for name in ("__code__", "__globals__", "__closure__", "__self__", "__func__", "__wrapped__"):
        thing = getattr(f, name, None)
        print(name, type(thing))
    cells = [cell.cell_contents for cell in f.__closure__ or ()]
    for space in (f.__globals__, *(vars(cell) for cell in cells if hasattr(cell, "__dict__"))):
        if "__in_place__" in space or "running" in space or "expected" in space:
            print("BREACH the examiner's namespace", sorted(space)[:20])
        for name in ("values", "right", "_callbacks"):
            if name in space:
                print("BREACH", name)
    return None
