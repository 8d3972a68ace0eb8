"""The student notebook in a real JupyterLab in a real browser: run all, and play with the widget."""

from __future__ import annotations

import json
import re
import time

import pytest

from autograder.authoring.build import load
from autograder.course import Course
from autograder.demo import answered

pytestmark = pytest.mark.browser

NAME = "04_self_attention"
COURSE = Course.find()


def run_all(page, address: str, notebook: str) -> None:
    """Open the notebook, run every cell, and wait until the kernel is idle and the last cell has a number."""
    page.goto(f"{address}/lab/tree/{notebook}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        """() => {
            const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
            const kernel = context?.session?.kernel;
            return context?.isReady && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
        }""",
        timeout=60_000,
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("[data-command='runmenu:run-all'] .lm-Menu-itemLabel").click()
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        # Cells far from the view are not in the page: the state is asked of the model behind it.
        prompts = page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
                .filter(cell => cell.type === 'code' && cell.sharedModel.getSource().trim())
                .map(cell => cell.executionCount)"""
        )
        if prompts and all(prompts):
            return
        time.sleep(0.5)
    pytest.fail(f"not all cells ran: {prompts}")


def outputs(page) -> str:
    """The text of every output in the notebook."""
    return page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
            .filter(cell => cell.type === 'code')
            .map(cell => JSON.stringify(cell.outputs.toJSON())).join('\\n')"""
    )


def show_widget(page):
    """Scroll to the live widget and return its place in the page."""
    index = page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
            .findIndex(cell => cell.sharedModel.getSource().includes('explore_attention('))"""
    )
    page.evaluate("i => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", index)
    widget = page.locator(".jupyter-widgets.widget-vbox").first
    widget.wait_for(timeout=30_000)
    return widget


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    yield page
    page.close()


def test_untouched_notebook_runs_to_its_score_card_and_the_widget_answers(page, lab, pictures):
    address, folder = lab
    (folder / "untouched.ipynb").write_bytes(COURSE.student(NAME).read_bytes())
    run_all(page, address, "untouched.ipynb")
    text = outputs(page)
    assert "not written yet" in text and "0 of 20 points" in text

    widget = show_widget(page)
    answer = widget.locator("caption").last
    before = answer.inner_text()
    widget.get_by_role("button", name="sat", exact=True).click()
    page.wait_for_function("([node, before]) => node.innerText !== before", arg=[answer.element_handle(), before])
    assert re.search(r"“sat” looks most at “\w+”, with weight 0\.\d\d", answer.inner_text())
    page.screenshot(path=pictures / "untouched_widget.png")


def test_a_finished_notebook_earns_all_points(page, lab, pictures):
    address, folder = lab
    notebook = answered(COURSE, load(COURSE, NAME))
    (folder / "finished.ipynb").write_text(json.dumps(notebook))
    run_all(page, address, "finished.ipynb")
    text = outputs(page)
    assert "20 of 20 points" in text and '"output_type":"error"' not in text
    page.evaluate("window.jupyterapp.shell.currentWidget.content.scrollToItem(0, 'start')")
    page.wait_for_timeout(1000)
    page.screenshot(path=pictures / "finished_top.png")
