"""A Dask cluster that speaks TLS alone, set up as `docs/teaching.md` says, with an authority that the tests make."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign import course, fake

from autograder.errors import UserError
from autograder.grading import grade

pytest.importorskip("distributed", reason="NOT TESTED: pip install 'attention-to-alignment[cluster]'")
pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="NOT TESTED: openssl is not installed")
HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "teaching.md"
FILES = ["--tls-ca-file", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
GRADE = """
import sys
from foreign import fake
from autograder.grading.grade import grade_class

if __name__ == "__main__":
    report = grade_class(sys.argv[1], "ps1", run=fake.run, scheduler=sys.argv[2])
    assert not report.problems, report.problems
    print(report.graded)
"""


@dataclass(frozen=True)
class Cluster:
    address: str
    folder: Path  # with the certificates, and Dask's configuration of the grading side
    env: dict[str, str]


def make_certificates(folder: Path) -> None:
    """An authority, and one certificate by it for everybody: ca.pem, cert.pem, key.pem."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=grading")
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial")
    openssl("x509", "-req", "-in", "request.pem", *signed_by, "-out", "cert.pem", "-days", "2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and a worker, started by the commands of the documentation."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tls://127.0.0.1:{port}"
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = ["scheduler", "--protocol", "tls", *FILES, *local, "--port", str(port)]
    worker = ["worker", address, *FILES, *local, "--nworkers", "1", "--nthreads", "1"]
    started = []
    with open(folder / "log", "w") as log:
        for words in (scheduler, worker):
            command = [sys.executable, "-m", "dask", *words]
            started.append(subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log))
    yield Cluster(address, folder, env)
    for process in reversed(started):
        process.terminate()
        process.wait(30)


def test_grading_over_tls_as_documented(cluster, foreign_course, graded_master):
    (documented,) = re.findall(r"```yaml\n(distributed:.*?)```", DOCS.read_text(), re.DOTALL)
    (cluster.folder / "tls.yaml").write_text(documented)
    text = DOCS.read_text()
    assert f"dask scheduler --protocol tls {' '.join(FILES)}" in text and f"8786 {' '.join(FILES)}" in text
    (cluster.folder / "grade_it.py").write_text(GRADE)
    env = {**cluster.env, "DASK_CONFIG": str(cluster.folder / "tls.yaml")}
    wait = (
        "import sys; from distributed import Client\n"
        "with Client(sys.argv[1], timeout=60) as client: client.wait_for_workers(1, timeout=60)"
    )
    run = {"cwd": cluster.folder, "env": env, "capture_output": True, "text": True, "timeout": 240, "check": False}
    done = subprocess.run([sys.executable, "-c", wait, cluster.address], **run)
    assert done.returncode == 0, done.stderr + (cluster.folder / "log").read_text()
    done = subprocess.run([sys.executable, "grade_it.py", foreign_course, cluster.address], **run)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 2 * len(course.HONEST) - 1
    assert course.scores(foreign_course) == course.scores(graded_master)


@pytest.mark.parametrize(
    ("protocol", "said"), [("tls", "needs certificates: name them"), ("tcp", "No Dask scheduler answers")]
)
def test_without_a_certificate_there_is_no_connection(cluster, foreign_course, monkeypatch, protocol, said):
    monkeypatch.setattr(grade, "_DASK_SECONDS", 3)
    address = cluster.address.replace("tls", protocol)
    with pytest.raises(UserError, match=said):
        grade.grade_class(foreign_course, course.LESSON, run=fake.run, scheduler=address)
