# Tries: to have a script run in the browser of whoever looks at the feedback.
# Deserves: shift 2.
# Answers: shift.
# %% before double
from IPython.display import HTML, Markdown, display

script = "<script>document.title = 'breach-by-script'</script><img src=x onerror=\"document.title='breach-by-script'\">"
display(HTML(script), Markdown(script), Markdown("[x](javascript:breach-by-script)"))
display(
    {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg' onload='breach-by-script'>{script}</svg>"}, raw=True
)
display({"image/png": f'"><{script[1:]}', "text/plain": script}, raw=True)
display({"application/javascript": "breach-by-script()", "text/html": script}, raw=True)
display({"text/latex": f"$</span>{script}$", "text/markdown": script}, raw=True)
print(script, "\x1b[31m" + script)


# %% double
def double(x):
    raise ValueError(script)


# %% triangle
def triangle(n):
    display(HTML(script))
    return script


# %% after triangle
raise RuntimeError(script)
