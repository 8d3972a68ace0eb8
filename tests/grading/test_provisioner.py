"""The sandboxed kernel, as Jupyter and nbgrader start it."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import nbformat
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from kernels import needs_sandbox
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from autograder.errors import UserError
from autograder.grading import provisioner, sandbox

pytestmark = needs_sandbox
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def kernelspec(tmp_path, monkeypatch):
    """The kernel under a prefix of the test's own, and the entry point where the package is not installed."""
    provisioner.install_kernelspec(tmp_path / "prefix")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))
    factory = KernelProvisionerFactory.instance()
    value = "autograder.grading.provisioner:SandboxedProvisioner"
    entry = EntryPoint("sandboxed", value, KernelProvisionerFactory.GROUP_NAME)
    monkeypatch.setitem(factory.provisioners, "sandboxed", entry)


def execute(folder: Path, *sources: str, **options) -> list[str]:
    """Run cells through nbclient; what each printed, or its exception."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    options = {"timeout": 60, "allow_errors": True, **options}
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name=provisioner.KERNEL_NAME, resources=resources, **options).execute()
    return ["".join(o.get("text") or f"{o.ename}: {o.evalue}" for o in cell.outputs) for cell in notebook.cells]


def test_a_notebook_runs_and_sees_its_folder_and_nothing_of_the_course(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    folder = tmp_path / "ada" / "lesson"
    folder.mkdir(parents=True)
    (folder / "data.csv").write_text("1,2")
    (tmp_path / "ada" / "other").write_text("x")
    solutions = str(REPOSITORY / "solutions")
    seen = execute(
        folder,
        "print(open('data.csv').read())",
        "open('data.csv', 'w').write('changed')\nopen('new', 'w').close()\nprint('ok')",
        f"import os\nos.listdir({solutions!r})",
        f"open({str(tmp_path / 'ada' / 'other')!r})",
        "print('SECRET' in os.environ, os.environ['HOME'], os.path.exists(os.path.expanduser('~root')))",
        "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0])",
    )
    assert seen[0] == "1,2\n" and seen[1] == "ok\n"
    assert seen[2].startswith("FileNotFoundError") and seen[3].startswith("FileNotFoundError")
    assert seen[4].startswith("False /scratch/home")
    assert seen[5].startswith("ConnectionRefusedError") and seen[6] == "256\n"
    assert [path.name for path in folder.iterdir()] == ["data.csv"] and (folder / "data.csv").read_text() == "1,2"


def test_a_folder_that_holds_a_course_is_not_shown(tmp_path):
    (tmp_path / "nbgrader_config.py").touch()
    (tmp_path / "gradebook.db").touch()
    (seen,) = execute(tmp_path, "import os\nprint(os.path.exists('gradebook.db'), os.path.exists('/notebook'))")
    assert seen == "False False\n"
    assert not provisioner._is_only_a_notebooks(REPOSITORY) and not provisioner._is_only_a_notebooks(REPOSITORY.parent)
    assert not provisioner._is_only_a_notebooks(Path.home())


def test_a_cell_that_takes_too_long_is_interrupted_and_the_next_runs(tmp_path):
    seen = execute(tmp_path, "import time\ntime.sleep(60)", "print('on')", timeout=5, interrupt_on_timeout=True)
    assert seen == ["KeyboardInterrupt: ", "on\n"]


def test_its_folder_of_sockets_goes_with_it(tmp_path, monkeypatch):
    (tmp_path / "sockets").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "sockets"))
    with pytest.raises(CellExecutionError):
        execute(tmp_path / "sockets", "1 / 0", allow_errors=False)
    assert list((tmp_path / "sockets").iterdir()) == []


def test_without_a_sandbox_it_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "available", lambda: "bubblewrap is not installed")
    with pytest.raises(UserError, match="not installed"):
        execute(tmp_path, "1")


def test_the_kernelspec_names_the_provisioner(tmp_path):
    spec = json.loads((provisioner.install_kernelspec(tmp_path) / "kernel.json").read_text())
    assert spec["metadata"]["kernel_provisioner"] == {"provisioner_name": "sandboxed"}
    assert spec["interrupt_mode"] == "message"
