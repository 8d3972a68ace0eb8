# Tries: to read what others have handed in, and the results of those that have been graded.
# Deserves: nothing.
# %% before double
import glob
import os

places = ["@COURSE@/submitted", "@COURSE@/autograded", "@COURSE@/results", "@COURSE@/feedback", "@TMP@"]
places += ["../../..", "/proc/1/root/@COURSE@/submitted", "/proc/self/cwd/../../submitted"]
found = [path for place in places for path in glob.glob(f"{place}/**/*.ipynb", recursive=True)]
found += [place for place in places[:5] if os.path.exists(place)]
if found:
    print("BREACH", found[:3])


# %% double
def double(x):
    return x
