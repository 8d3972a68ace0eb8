# Tries: to have its scratch files, by name the grader's own, copied out of the sandbox.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import os

for name in ("base_lesson.ipynb", ".base_lesson.ipynb.part", "timestamp.txt", "../gradebook.db", "nbgrader_config.py"):
    with open(name, "w") as file:
        file.write("@MARKER@")
for target in ("@COURSE@/gradebook.db", "@COURSE@/source", "/etc/passwd", "/proc/1/environ"):
    os.symlink(target, f"link-{abs(hash(target))}")


# %% double
def double(x):
    return x
