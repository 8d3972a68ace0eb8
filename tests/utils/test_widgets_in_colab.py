"""The tests of the widgets once more, with the ipywidgets that Colab ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COLABS = Path(sys.prefix) / "ipywidgets-7.7"


def test_widgets_work_with_ipywidgets_7_7():
    if not COLABS.is_dir():
        pytest.skip(f"no ipywidgets 7.7 in {COLABS}: `make test` installs it there")
    env = {**os.environ, "PYTHONPATH": str(COLABS)}
    version = [sys.executable, "-c", "import ipywidgets; print(ipywidgets.__version__)"]
    assert subprocess.run(version, env=env, capture_output=True, text=True).stdout.startswith("7.7")
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("test_widgets.py")),
    ]
    done = subprocess.run(tests, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]
