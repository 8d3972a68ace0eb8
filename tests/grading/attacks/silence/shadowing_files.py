# Tries: to have modules imported that it hands in beside the notebook, by the grader or by the kernel.
# Deserves: shift 2.
# Answers: shift.
# %% file torch.py
open("@MARKER@-torch", "w").close()
# %% file sitecustomize.py
open("@MARKER@-sitecustomize", "w").close()
# %% file usercustomize.py
open("@MARKER@-usercustomize", "w").close()
# %% file utils/__init__.py
open("@MARKER@-utils", "w").close()
exercise = expect_close = print
# %% file utils/checks.py
open("@MARKER@-checks", "w").close()
# %% file autograder/__init__.py
open("@MARKER@-autograder", "w").close()
# %% file nbgrader_config.py
open("@MARKER@-config", "w").close()
# %% file conftest.py
open("@MARKER@-conftest", "w").close()
# %% file json.py
open("@MARKER@-json", "w").close()
# %% file .ipython/profile_default/startup/00.py
open("@MARKER@-startup", "w").close()
# %% file evil.pth
import os

os.open("@MARKER@-pth", os.O_CREAT)


# %% double
def double(x):
    return x
