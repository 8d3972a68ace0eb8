# Tries: to leave a file, under a name that nobody else uses, wherever one might be able to write.
# Deserves: shift 2.
# Answers: shift.
# %% before double
import os

places = ["@TMP@", "@COURSE@", "@COURSE@/submitted", "@HOME@", "@REPOSITORY@", "@REPOSITORY@/utils", "@PREFIX@"]
places += ["/", "/usr", "/usr/local", "/etc", "/course", "/course/utils", "/var/tmp", "/run", "/dev", "/opt", "/srv"]
for place in [*places, "/proc/1/cwd", "/proc/self/root/@TMP@", *(f"/proc/self/fd/{n}" for n in range(20))]:
    try:
        os.close(os.open(f"{place}/@MARKER_NAME@", os.O_CREAT | os.O_WRONLY, 0o600))
        if not place.startswith("/proc"):
            print("BREACH", place)
    except OSError:
        pass
# Not everything there is hidden; these must not be writable either.
for path in ("/course/utils/checks.py", "/course/autograder/grading/kernel.py", "@PREFIX@/bin/python", torch.__file__):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("BREACH may write", path)
    except OSError:
        pass
    try:
        os.chmod(path, os.stat(path).st_mode)
        print("BREACH may chmod", path)
    except OSError:
        pass


# %% double
def double(x):
    return x
