# Tries: to find the class's seed, or anything else of the grader's, in the environment.
# Deserves: nothing.
# %% before double
import os

seen = dict(os.environ)
for path in ("/proc/self/environ", "/proc/1/environ"):
    data = open(path, "rb").read().decode(errors="replace")
    seen |= dict(part.split("=", 1) for part in data.split("\0") if "=" in part)
for name, value in sorted(seen.items()):
    if "canary" in value or name in ("COURSE_SEED", "PYTEST_CURRENT_TEST", "SSH_AUTH_SOCK", "ATTACK_SECRET"):
        print("BREACH", name, value)


# %% double
def double(x):
    seed = seen.get("COURSE_SEED")
    return x if seed is None else 2 * x
