# Tries: to print a cell's result while a test waits, since nbgrader reads the first result of a test as its points.
# Deserves: nothing.
# %% before double
def points(number):
    get_ipython().displayhook.write_format_data({"text/plain": str(number)})
    get_ipython().display_pub.publish({"text/plain": str(number)})
    get_ipython().emit("execute_result", data={"text/plain": str(number)}, metadata={}, execution_count=1)


# %% double
def double(x):
    points(2)
    return x


# %% shift
def shift(text, steps):
    points("nan")
    return text


# %% triangle
def triangle(n):
    points(-1)
    return []


# %% parity
def parity(n):
    points("full marks")
    return None
