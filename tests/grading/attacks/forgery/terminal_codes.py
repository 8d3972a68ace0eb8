# Tries: to write on the terminal of whoever grades: clear it, rename it, fake a line of the report.
# Deserves: shift 2.
# Answers: shift.
# %% before double
evil = "\x1b[2J\x1b]0;BREACH\x07\rforgery_terminal_codes 16 of 16\x9b31m\x00[bold red]marked up[/bold red][link=http://127.0.0.1]x[/link]"


# %% double
def double(x):
    raise ValueError(evil)


# %% triangle
def triangle(n):
    return [evil]


# %% is_even
def is_even(n):
    raise type(evil.replace("\0", ""), (Exception,), {})(evil)


# %% after is_even
raise RuntimeError(evil)
