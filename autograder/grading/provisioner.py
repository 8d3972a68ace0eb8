"""The sandbox as a Jupyter kernel, for stock nbgrader: `nbgrader autograde`, `nbgrader validate`, the formgrader.

`install_kernelspec()` makes a kernel named "sandboxed-python". Jupyter starts it through this provisioner (entry point
group `jupyter_client.kernel_provisioners`, name "sandboxed"): an ordinary ipykernel inside bubblewrap. With no network
in there, it is reached over unix sockets in a folder of its own. It is a cold kernel, and tests run in it as nbgrader
runs them: what `autograder grade` does beyond that, it does not do.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from autograder.grading import sandbox
from autograder.grading.job import Limits

KERNEL_NAME = "sandboxed-python"
_NOTEBOOK = "/notebook"  # the notebook's folder, read-only; a copy of it is the working folder
_ENTER = f"""
import json, os, shutil, sys
from autograder.grading import seccomp, warm
for name in ("HOME", "TMPDIR"):
    os.makedirs(os.environ[name], exist_ok=True)
if os.path.isdir("{_NOTEBOOK}"):
    shutil.copytree("{_NOTEBOOK}", os.environ["HOME"], dirs_exist_ok=True, symlinks=True)
os.chdir(os.environ["HOME"])
warm.set_limits(json.loads(sys.argv[1]), False)
seccomp.install()
os.execv(sys.argv[2], sys.argv[2:])
"""


class SandboxedProvisioner(LocalProvisioner):
    """Starts a kernel in the sandbox. One that cannot have it does not start."""

    _folder: str | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose sockets and connection file in a folder that both sides see."""
        sandbox.require("bwrap")
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="kernel-")  # short: a socket's path has 107 characters at most
            manager = self.parent
            manager.cache_ports = False
            manager.transport, manager.ip = "ipc", f"{self._folder}/socket"
            manager.connection_file = f"{self._folder}/connection.json"
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start `cmd` in the sandbox, with a copy of the notebook's folder as its working folder."""
        limits = Limits()
        plan = sandbox.plan(scratch_mb=limits.scratch_mb)
        extra = ["--bind", self._folder, self._folder]
        cwd = Path(kwargs.get("cwd") or os.getcwd())
        if _is_only_a_notebooks(cwd):
            extra += ["--ro-bind", str(cwd), _NOTEBOOK]
        enter = [sys.executable, "-P", "-c", _ENTER, json.dumps(dataclasses.asdict(limits)), *cmd]
        kwargs["env"] = {"PATH": os.environ.get("PATH", "")}
        kwargs["cwd"] = "/"
        return await super().launch_kernel(plan.command(enter, sealed=False, extra=extra), **kwargs)

    async def send_signal(self, signum: int) -> None:
        """Interrupts go by message (see the kernelspec): bubblewrap passes no signal on."""
        if signum != 2:
            await super().send_signal(signum)

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart)
        if self._folder and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _is_only_a_notebooks(folder: Path) -> bool:
    """Whether student code may see this folder: not one that holds a course, a home, or a way to either."""
    folder = folder.resolve()
    course = any((folder / name).exists() for name in ("nbgrader_config.py", "gradebook.db", "pyproject.toml"))
    private = (Path.home().resolve(), Path(__file__).resolve().parents[2])
    return folder.is_dir() and not course and not any(place.is_relative_to(folder) for place in private)


def install_kernelspec(prefix: str | Path = sys.prefix) -> Path:
    """Install the kernel "sandboxed-python" under `prefix`; returns its folder. Installing twice is no error."""
    folder = Path(prefix) / "share" / "jupyter" / "kernels" / KERNEL_NAME
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (sandboxed)",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False, "kernel_provisioner": {"provisioner_name": "sandboxed"}},
    }
    (folder / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
    return folder
