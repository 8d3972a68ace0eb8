"""Pictures: what a reader gets in a notebook, on a page, in a script, and where nothing can be drawn."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from bs4 import BeautifulSoup  # comes with nbconvert
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from utils import plots

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = torch.tensor([[0.75, 0.25], [0.0, 1.0]])
ALT = 'two words, the first looks at "itself" & the second < 1'

PICTURES = {
    "attention_map": lambda: plots.attention_map(WEIGHTS, ["the", "cat"], title="a map", alt=ALT),
    "attention_map of one word": lambda: plots.attention_map(torch.ones(1, 1), ["a"], title="one", alt=ALT),
    "attention_map, other keys": lambda: plots.attention_map(torch.rand(1, 2), ["a"], ["x", "y"], title="t", alt=ALT),
    "attention_heads": lambda: plots.attention_heads(torch.rand(4, 9, 9), list("abcdefghi"), title="heads", alt=ALT),
    "signed_map": lambda: plots.signed_map(torch.randn(5, 7), xlabel="x", ylabel="y", title="signed", alt=ALT),
    "signed_map of zeros": lambda: plots.signed_map(torch.zeros(2, 2), xlabel="x", ylabel="y", title="zeros", alt=ALT),
    "curves": lambda: plots.curves({"a": [1.0, 2], "b": ([1, 3], [2, 1])}, xlabel="x", ylabel="y", title="c", alt=ALT),
    "curves on logarithmic axes": lambda: plots.curves(
        {"a": torch.rand(3) + 1}, xlabel="x", ylabel="y", title="a title " * 20, alt=ALT, log="y", markers=True
    ),
    "diagram": lambda: plots.diagram(
        {"x": ("words", 0, 0), "q": ("queries", 0, 1), "p": ("places", 1, 0)},
        [("x", "q"), ("p", "x")],
        yours=["q"],
        title="model",
        alt=ALT,
    ),
}  # fmt: skip


def figure_of(monkeypatch, draw):
    """The matplotlib figure that `draw` would show."""
    from matplotlib.figure import Figure

    caught = []
    monkeypatch.setattr(plots, "_show", lambda make, title, alt: caught.append(make(Figure)))
    draw()
    return caught[0]


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_a_small_png_of_at_most_seven_inches(name, tmp_path, monkeypatch, capsys):
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("COURSE_PLOTS", str(tmp_path))
    torch.manual_seed(0)
    PICTURES[name]()
    (file,) = tmp_path.iterdir()
    image = Image.open(file)
    assert image.format == "PNG"
    assert image.width <= plots.WIDTH * plots.DPI + 1
    assert file.stat().st_size < 60_000
    assert len(set(image.convert("L").resize((60, 40)).tobytes())) > 5  # something is on it
    assert ALT in capsys.readouterr().out


def test_the_same_picture_has_the_same_bytes(tmp_path, monkeypatch):
    bytes_of = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        monkeypatch.setenv("COURSE_PLOTS", str(folder))
        PICTURES["attention_map"]()
        bytes_of += [file.read_bytes() for file in folder.iterdir()]
    assert bytes_of[0] == bytes_of[1]


def test_a_picture_without_alt_text_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_PLOTS", "off")  # also where nothing is drawn
    with pytest.raises(ValueError, match="alt text"):
        plots.attention_map(WEIGHTS, ["the", "cat"], title="a map", alt=" ")
    with pytest.raises(TypeError, match="alt"):
        plots.attention_map(WEIGHTS, ["the", "cat"], title="a map")


def test_small_maps_show_their_numbers_and_large_ones_do_not(monkeypatch):
    small = figure_of(monkeypatch, PICTURES["attention_map"])
    assert {"0.75", "0.25", "0.00", "1.00"} <= {text.get_text() for text in small.axes[0].texts}
    assert not figure_of(monkeypatch, PICTURES["attention_heads"]).axes[0].texts


def test_all_heads_share_one_scale(monkeypatch):
    figure = figure_of(monkeypatch, PICTURES["attention_heads"])
    assert {axis.images[0].get_clim() for axis in figure.axes[:4]} == {(0.0, 1.0)}


def test_a_signed_map_is_centred_at_zero(monkeypatch):
    low, high = figure_of(monkeypatch, PICTURES["signed_map"]).axes[0].images[0].get_clim()
    assert low == -high < 0


def test_lines_differ_in_more_than_colour(monkeypatch):
    names = {f"line {i}": [1.0, 2.0, float(i)] for i in range(7)}
    figure = figure_of(
        monkeypatch, lambda: plots.curves(names, xlabel="x", ylabel="y", title="t", alt="a", markers=True)
    )
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == 7
    assert len({str(line._dash_pattern) for line in lines}) == 7
    assert len({line.get_marker() for line in lines}) == 7


def test_what_the_reader_writes_is_marked_without_colour_too(monkeypatch):
    figure = figure_of(monkeypatch, PICTURES["diagram"])
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"words", "✎ queries", "places"} <= texts
    widths = sorted(patch.get_linewidth() for patch in figure.axes[0].patches if patch.get_linewidth())
    assert widths[-1] > 2 * widths[0]


def test_a_script_says_in_words_what_the_picture_shows():
    code = (
        "import sys, torch\n"
        "from utils import *\n"
        "attention_map(torch.ones(1, 1), ['a'], title='One word', alt='it looks at itself')\n"
        "assert not {'matplotlib', 'IPython', 'PIL'} & set(sys.modules), 'imported for nothing'\n"
    )
    done = run(code, COURSE_PLOTS="")
    assert done.stdout == "[picture] One word\nit looks at itself\n"
    assert run(code, COURSE_PLOTS="off").stdout == ""


def test_without_matplotlib_the_words_are_left(tmp_path):
    code = (
        "import sys, torch\n"
        "sys.modules['matplotlib'] = None\n"
        "from utils import *\n"
        "attention_map(torch.ones(1, 1), ['a'], title='One word', alt='it looks at itself')\n"
    )
    assert run(code, COURSE_PLOTS=str(tmp_path)).stdout == "[picture] One word\nit looks at itself\n"


def run(code: str, **env: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


# --- in a notebook ---------------------------------------------------------------------------------------------------

CELLS = [
    f"import torch\nfrom utils import *\nattention_map(torch.ones(1, 1), ['a'], title='One word', alt={ALT!r})",
    "w = torch.nn.Parameter(torch.ones(3))\nlosses = fit([w], lambda step: (w**2).sum(), steps=50, label='to zero')",
    "explore_attention(['he', 'she'], 3 * torch.eye(2), torch.eye(2), start=1)",
]


@pytest.fixture(scope="module")
def notebook():
    """A notebook with a picture, a training run and a widget, executed."""
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    client = NotebookClient(node, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    env = {key: value for key, value in os.environ.items() if key != "COURSE_PLOTS"}
    return client.execute(env=env)


def test_in_a_notebook_a_picture_has_an_alt_text(notebook):
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == f"One word\n{ALT}"
    assert output.metadata["image/png"]["alt"] == ALT
    assert base64.b64decode(output.data["image/png"])[:4] == b"\x89PNG"


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_on_a_page_a_picture_has_an_alt_text_and_its_size(notebook, template):
    page, _ = HTMLExporter(template_name=template).from_notebook_node(
        nbformat.v4.new_notebook(cells=notebook.cells[:1])
    )
    (image,) = BeautifulSoup(page, "html.parser").find_all("img")
    assert image["alt"] == ALT
    assert 100 < int(image["width"]) <= plots.WIDTH * plots.CSS_PIXELS


def test_in_a_notebook_the_bar_leaves_one_line_without_times(notebook):
    (output,) = notebook.cells[1].outputs
    assert re.fullmatch(r"to zero: 50 steps, loss 3\.000 → \d\.\d{3}", output.data["text/plain"])
    assert output.data["text/html"] == output.data["text/plain"]


def test_in_a_notebook_the_widget_brings_its_still(notebook):
    (output,) = notebook.cells[2].outputs
    assert output.data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert "“she” looks most at “she”, with weight 0.89" in output.data["text/plain"]
    assert "“she” looks most at “she”" in output.data["text/html"]
