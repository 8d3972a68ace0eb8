"""The sandbox's plan, and what a process inside really finds."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kernels import Shell, needs_sandbox

from autograder.errors import UserError
from autograder.grading import sandbox

REPOSITORY = Path(__file__).resolve().parents[2]


def inside(program: str, plan: sandbox.Plan | None = None, sealed: bool = True) -> dict:
    """What a Python program in bubblewrap alone prints as JSON."""
    command = (plan or sandbox.plan()).command([sys.executable, "-P", "-c", program], sealed=sealed)
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(done.stdout)


@needs_sandbox
def test_the_environment_is_the_plans_and_nothing_else(monkeypatch):
    monkeypatch.setenv("COURSE_SEED", "secret")
    seen = inside("import json, os; print(json.dumps(dict(os.environ)))")
    seen.pop("PWD", None)  # bubblewrap's own
    seen.pop("LC_CTYPE", None)  # Python's own
    assert seen == sandbox.plan().env


@needs_sandbox
def test_the_mounts_are_the_plans_and_nothing_else():
    plan = sandbox.plan()
    seen = inside("import json; print(json.dumps([line.split()[1:4] for line in open('/proc/mounts')]))")
    kinds = {path: (kind, options.split(",")) for path, kind, options in seen}
    for _, path in plan.read_only:
        assert "ro" in kinds.pop(path)[1], path
    assert "ro" in kinds.pop("/")[1] and "ro" in kinds.pop("/dev")[1]
    writable = {
        path for path, (kind, options) in kinds.items() if "rw" in options and not path.startswith(("/dev/", "/proc"))
    }
    private = {"/tmp"} & set(plan.writable)  # read-only where the Python that grades lies in /tmp itself
    assert writable == private | {sandbox.SCRATCH}
    assert {kind for path, (kind, _) in kinds.items() if path in writable} == {"tmpfs"}
    others = {path for path in kinds if not path.startswith(("/dev/", "/proc"))} - writable
    assert others <= {"/tmp"} - private


@needs_sandbox
def test_of_the_repository_only_utils_and_the_kernels_code_are_there():
    program = f"""
import json, os
found = [os.path.join(top, name) for top, _, names in os.walk("/course") for name in names]
hidden = [os.path.exists(os.path.join({str(REPOSITORY)!r}, name)) for name in ("solutions", "autograder", "class")]
print(json.dumps([found, os.listdir("/"), hidden]))
"""
    found, top, hidden = inside(program)
    names = {Path(path).relative_to("/course").as_posix() for path in found if "__pycache__" not in path}
    ours = {name for name in names if name.startswith("autograder/")}
    assert ours == {f"autograder/{name}" for name in sandbox._INSIDE}
    assert {name.split("/")[0] for name in names} == {"autograder", "utils"}
    assert not any(hidden)
    assert not {"home", "mnt", "media", "srv", "var", "opt", "run", "sys", "boot"} & set(top)


def test_a_home_inside_a_visible_folder_is_hidden(tmp_path, monkeypatch):
    home = tmp_path / "prefix" / "home"
    home.mkdir(parents=True)
    (home / "secret").write_text("x")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(Path, "home", lambda: home)
    plan = sandbox.plan()
    assert plan.hidden == (str(home),)
    if sandbox.available() is None:
        path = str(home)
        assert inside(
            f"import json, os; print(json.dumps([os.listdir({path!r}), os.access({path!r}, os.W_OK)]))", plan
        ) == [[], False]


@needs_sandbox
@pytest.mark.parametrize("sealed", [True, False])
def test_no_setting_of_the_system_can_be_written(shell: Shell, sealed):
    program = """
import json, os
found = [os.path.join(top, name) for top, _, names in os.walk("/proc/sys/kernel") for name in names]
print(json.dumps([path for path in found if os.access(path, os.W_OK)]))
"""
    if sealed:  # the kernel's own /proc
        assert json.loads(shell.text(program)) == []
    else:  # bubblewrap's, which is all that a cold kernel has
        assert inside(program, sealed=False) == []


@needs_sandbox
def test_no_network_but_an_own_loopback(shell: Shell):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []
        listener.settimeout(0.1)

        def accept():
            for _ in range(20):
                try:
                    accepted.append(listener.accept())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        port = listener.getsockname()[1]
        said = shell.text(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)")
        assert "refused" in said
        assert "socket.create_connection" and shell.value("[n for _, n in __import__('socket').if_nameindex()]") == [
            "lo"
        ]
        thread.join()
        assert not accepted


@needs_sandbox
def test_a_python_in_tmp_stays_visible(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "marker").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    plan = sandbox.plan()
    path = str(tmp_path / "bin")
    seen = inside(f"import json, os; print(json.dumps([os.listdir({path!r}), os.access('/tmp', os.W_OK)]))", plan)
    assert seen == [["marker"], False] and plan.writable == ("/dev/shm",)


def test_a_missing_bubblewrap_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    sandbox.available.cache_clear()
    try:
        with pytest.raises(UserError, match="bubblewrap is not installed: .*--sandbox none"):
            sandbox.require("bwrap")
        sandbox.require("none")
    finally:
        sandbox.available.cache_clear()


def test_a_bubblewrap_that_fails_is_one_sentence(tmp_path, monkeypatch):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sandbox.available.cache_clear()
    try:
        assert "No permissions to create new namespace" in sandbox.available()
    finally:
        sandbox.available.cache_clear()
