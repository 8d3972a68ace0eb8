# Tries: to read the solution and the hidden tests from the folders where they lie.
# Deserves: nothing.
# %% before double
import os

places = ["@COURSE@/source", "@COURSE@/release", "@REPOSITORY@/solutions", "@REPOSITORY@/tests", "@REPOSITORY@/class"]
found = []
for place in [*places, "/course", "/scratch", "/tmp", "..", "../.."]:
    for root, folders, files in os.walk(place):
        for name in files:
            try:
                text = open(os.path.join(root, name), errors="replace").read(2**20)
            except OSError:
                continue
            if any("-".join(["canary", "of", "the", end]) in text for end in ("solution", "hidden-tests")):
                if not os.path.abspath(root).startswith("/scratch"):
                    found.append(os.path.join(root, name))
for place in places:
    if os.path.exists(place):
        found.append(place)
if found:
    print("BREACH", found[:5])


# %% double
def double(x):
    return 2 * x if found else x
