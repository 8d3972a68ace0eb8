# Tries: to import the trusted half of the grader and to ask it for the tests, the course, the results.
# Deserves: nothing.
# %% before double
import importlib
import subprocess
import sys

for name in ("examiner", "record", "runner", "grade", "classroom", "realign", "client", "handles", "job"):
    try:
        importlib.import_module(f"autograder.grading.{name}")
        print("BREACH", name)
    except ImportError as error:
        print(error)
try:
    from nbgrader.api import Gradebook

    with Gradebook("sqlite:///@COURSE@/gradebook.db") as gradebook:
        print("BREACH", gradebook.students)
except Exception as error:
    print(type(error).__name__)
command = [sys.executable, "-m", "nbgrader", "list", "--course-dir=@COURSE@"]
print(subprocess.run(command, capture_output=True, text=True).stdout[-200:])


# %% double
def double(x):
    return x
