"""Nothing unearned: hostile and broken submissions, graded as one class beside honest ones.

The submissions are in `attacks/`, each with what it tries and what it deserves; see `attacks/suite.py`. All of them are
graded once, in the real sandbox, and each test below looks at one thing about the outcome.
"""

from __future__ import annotations

import contextlib
import ctypes
import html.parser
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from attacks import suite
from attacks.suite import CANARIES, EVERYTHING, LESSON, POINTS, Attack

from autograder.grading import grade, sandbox
from autograder.grading.classroom import open_course
from autograder.grading.feedback import write_feedback
from autograder.grading.grade import ClassReport
from autograder.grading.job import Limits

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sandbox.available() is not None, reason=f"NOT TESTED: {sandbox.available()}"),
]

SEED = "canary-of-the-seed"
HONEST = ("honest_first", "m_honest_between", "z_honest_last")  # beside attacks in the order of grading
LIMITS = Limits(
    cell_seconds=8,
    notebook_seconds=60,
    call_seconds=4,
    memory_mb=400,
    processes=48,
    open_files=128,
    scratch_mb=64,
    output_bytes=30_000,
    figure_bytes=100_000,
    message_mb=32,
)


class Listener:
    """Listens on loopback in every way that an attack tries, and remembers what came."""

    def __init__(self, folder: Path, name: str):
        self.heard: list[str] = []
        self.abstract, self.path = name, folder / "listener"
        tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self.tcp = tcp.getsockname()[1]
        udp = self._bind(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self.udp = udp.getsockname()[1]
        self.sockets = [tcp, udp]
        abstract = f"\0{name}"
        for make in (
            lambda: self._listen(socket.AF_INET6, ("::1", self.tcp)),
            lambda: self._bind(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", self.udp)),
            lambda: self._listen(socket.AF_UNIX, abstract),
            lambda: self._listen(socket.AF_UNIX, str(self.path)),
            lambda: self._listen(socket.AF_VSOCK, (1, self.tcp)),
        ):
            with contextlib.suppress(OSError):  # a machine without IPv6 or vsock
                self.sockets.append(make())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @staticmethod
    def _bind(family: int, kind: int, address: object) -> socket.socket:
        sock = socket.socket(family, kind)
        sock.bind(address)
        sock.setblocking(False)
        return sock

    def _listen(self, family: int, address: object) -> socket.socket:
        sock = self._bind(family, socket.SOCK_STREAM, address)
        sock.listen()
        return sock

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        for sock in self.sockets:
            selector.register(sock, selectors.EVENT_READ)
        while not self._stop.is_set():
            for key, _ in selector.select(0.2):
                sock = key.fileobj
                if sock.type == socket.SOCK_DGRAM:
                    self.heard.append(f"{sock.family.name}: {sock.recv(1000)!r}")
                else:
                    connection, _ = sock.accept()
                    connection.settimeout(1)
                    with connection, contextlib.suppress(OSError):
                        self.heard.append(f"{sock.family.name}: {connection.recv(1000)!r}")

    def knock(self) -> set[str]:
        """Reach every socket of its own; return the families of those that heard it."""
        before = len(self.heard)
        for sock in self.sockets:
            with socket.socket(sock.family, sock.type) as caller:
                caller.settimeout(5)
                caller.connect(sock.getsockname())
                caller.send(b"knock")
        for _ in range(100):
            if len(self.heard) - before == len(self.sockets):
                break
            time.sleep(0.05)
        return {line.split(":")[0] for line in self.heard[before:]}

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for sock in self.sockets:
            sock.close()


@dataclass
class Graded:
    """The class after grading."""

    folder: Path
    attacks: dict[str, Attack]
    report: ClassReport
    listener: Listener
    marker: Path  # attacks make files whose names start with this one's name
    processes: list[str]  # command lines that carried the marker when the graders had ended
    knocks: set[str]  # families by which the listener was reached from outside the sandbox, after the class
    feedback: dict[str, str] = field(default_factory=dict)  # student → page

    def scores(self, student: str) -> dict[str, float]:
        """Exercise → points, those that earned something."""
        scores = self.report.students[student].scores
        return {name.removeprefix("test_"): score for name, score in scores.items() if score}

    def autograded(self, student: str) -> str:
        path = self.folder / "autograded" / student / LESSON / f"{LESSON}.ipynb"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """Every attack and the honest, handed in and graded."""
    folder, outside = tmp_path_factory.mktemp("attacked") / "course", tmp_path_factory.mktemp("outside")
    folder.mkdir()
    marker = outside / f"marker-{uuid.uuid4().hex}"
    listener = Listener(outside, f"listener-{uuid.uuid4().hex}")
    known = {
        "COURSE": str(folder),
        "TMP": str(outside),
        "REPOSITORY": str(Path(grade.__file__).parents[2]),
        "HOME": str(Path.home()),
        "PREFIX": sys.prefix,
        "BASE": sys.base_prefix,
        "PID": str(os.getpid()),
        "MARKER": str(marker),
        "MARKER_NAME": marker.name,
        "CALL_SECONDS": str(LIMITS.call_seconds),
        "TCP_PORT": str(listener.tcp),
        "UDP_PORT": str(listener.udp),
        "ABSTRACT": listener.abstract,
        "SOCKET": str(listener.path),
        "FORGE": "forge.py\n" + (suite.HERE / "forge.py").read_text(),
    }
    released = suite.build_course(folder)
    attacks = {attack.name: attack for attack in suite.attacks(known)}
    for attack in attacks.values():
        attack.hand_in(folder / "submitted" / attack.student / LESSON, released)
    for student in HONEST:
        suite.write(folder / "submitted" / student / LESSON, suite.apply(released, [], list(POINTS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTACK_SECRET", "canary-of-the-grader")
        report = grade.grade_class(folder, LESSON, jobs=4, limits=LIMITS, seed=SEED)
        # What would live on for a minute is looked for right after its submission alone.
        daemon = attacks["exhaustion/daemon_that_outlives"].student
        grade.grade_class(folder, LESSON, jobs=1, limits=LIMITS, seed=SEED, only=[daemon], fresh=True)
    heard, processes = list(listener.heard), _processes(marker.name)
    knocks = listener.knock()
    listener.close()
    listener.heard[:] = heard
    result = Graded(folder, attacks, report, listener, marker, processes, knocks)
    for page in write_feedback(folder, LESSON, only=_gradable(result), jobs=2):
        result.feedback[page.parents[1].name] = page.read_text()
    return result


def _gradable(graded: Graded) -> list[str]:
    return [student for student in graded.report.students if graded.autograded(student)]


def _processes(word: str) -> list[str]:
    """Command lines with that word in them, of all processes of this machine but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line and path.parent.name != str(os.getpid()):
                found.append(line)
    return found


# --- each attack ------------------------------------------------------------------------------------------------------


def _each() -> list:
    """Names of the attacks; those known to be open are expected to fail."""
    known = suite.known_failures()
    marks = {name: [pytest.mark.xfail(reason=reason, strict=True)] for name, reason in known.items()}
    return [pytest.param(name, marks=marks.get(name, [])) for name in suite.names()]


@pytest.mark.parametrize("name", _each())
def test_it_gets_what_it_deserves(graded: Graded, name: str):
    attack = graded.attacks[name]
    if attack.deserves is None:
        assert graded.scores(attack.student) == {}
        assert attack.student in graded.report.problems
    else:
        assert graded.report.problems.get(attack.student) is None
        assert graded.scores(attack.student) == attack.deserves, what_happened(graded, attack.student)


@pytest.mark.parametrize("name", suite.names())
def test_it_gets_no_further_than_the_sandbox(graded: Graded, name: str):
    """What an attack reaches, it prints as BREACH; what a student is told of limits is what the attack expects."""
    student = graded.attacks[name].student
    printed = [output for output in _outputs(graded, student) if "BREACH" in output]
    assert printed == []
    said = " ".join(graded.report.students[student].limits_hit)
    assert graded.attacks[name].reported in said, what_happened(graded, student)


def _outputs(graded: Graded, student: str) -> list[str]:
    """What the cells of an autograded notebook printed."""
    cells = _cells(graded, student)
    streams = [o for cell in cells for o in cell.get("outputs", ()) if o["output_type"] == "stream"]
    return ["".join(output["text"]) for output in streams]


def what_happened(graded: Graded, student: str) -> str:
    """What an assertion must tell of a submission, since a hostile one may not do the same twice."""
    report, lines = graded.report.students[student], []
    for number, cell in enumerate(_cells(graded, student), 1):
        for output in cell.get("outputs", ()):
            said = output.get("evalue") or "".join(output.get("text", "")) or str(output.get("data"))
            name = cell["metadata"].get("nbgrader", {}).get("grade_id", f"cell {number}")
            lines.append(f"{name}: {output.get('ename', output['output_type'])}: {said.strip()[:300]}")
    return "\n".join([f"of {student}:", *(f"limit: {line}" for line in report.limits_hit), *lines])


def _cells(graded: Graded, student: str) -> list[dict]:
    """The cells of an autograded notebook; none if there is none."""
    text = graded.autograded(student)
    return json.loads(text)["cells"] if text else []


@pytest.mark.parametrize("name", suite.text_names())
def test_it_does_not_stumble_over_itself(graded: Graded, name: str):
    """An attack that fails by a mistake in its own cells shows nothing."""
    cells = [cell for cell in _cells(graded, graded.attacks[name].student) if not cell["metadata"].get("nbgrader")]
    errors = [output for cell in cells for output in cell.get("outputs", ()) if output["output_type"] == "error"]
    mistakes = {
        "NameError",
        "AttributeError",
        "TypeError",
        "SyntaxError",
        "IndentationError",
        "ImportError",
        "KeyError",
    }
    assert [error["evalue"] for error in errors if error["ename"] in mistakes] == []


def test_there_are_enough_of_them(graded: Graded):
    assert len(graded.attacks) == len(suite.names()) >= 60


# --- everybody else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", HONEST)
def test_honest_neighbours_keep_their_points(graded: Graded, student: str):
    assert graded.scores(student) == EVERYTHING, what_happened(graded, student)
    assert not graded.report.students[student].limits_hit


def test_the_gradebook_holds_the_class_and_nothing_else(graded: Graded):
    course = open_course(graded.folder)
    rows = course.grades(LESSON)
    graded_students = {a.student for a in graded.attacks.values() if a.deserves is not None} | set(HONEST)
    assert graded_students <= {row.student for row in rows} <= set(graded.report.students)
    assert {row.cell for row in rows} == {f"test_{name}" for name in POINTS}
    assert {row.notebook for row in rows} == {LESSON}
    assert all(0 <= row.score <= POINTS[row.cell.removeprefix("test_")] for row in rows)
    with course.gradebook() as gradebook:
        assert {student.id for student in gradebook.students} <= set(graded.report.students)
        assert [assignment.name for assignment in gradebook.assignments] == [LESSON]
        assert gradebook.find_assignment(LESSON).max_score == sum(POINTS.values())


# --- nothing left behind ----------------------------------------------------------------------------------------------


def test_no_process_is_left(graded: Graded):
    assert graded.processes == []
    command = [sys.executable, "-S", "-c", "input(1)", graded.marker.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        assert len(_processes(graded.marker.name)) == 1  # one that is there is found
        process.communicate(b"end\n")


def test_no_file_is_left(graded: Graded):
    places = [*graded.marker.parent.iterdir(), graded.folder / "submitted", graded.folder / "autograded", Path("/tmp")]
    places += [Path(place) for place in ("/", "/usr", "/etc", "/dev", "/dev/shm", "/var/tmp", "/run", "/opt", "/srv")]
    places += [Path.home(), Path(sys.prefix), suite.HERE.parents[2], suite.HERE.parents[2] / "utils"]
    left = [path for place in places for path in [place, *_inside(place)] if path.name.startswith(graded.marker.name)]
    for path in left:
        path.unlink()
    assert left == []


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def test_no_segment_is_left(graded: Graded):
    libc = ctypes.CDLL(None)
    number = sum(graded.marker.name.encode()) + 77_000  # the key of escape/note_for_a_neighbour_*.py
    segment = libc.shmget(number, 100, 0)
    if segment >= 0:
        libc.shmctl(segment, 0, None)
    assert segment < 0


def test_nobody_reached_the_listener(graded: Graded):
    assert graded.listener.heard == []


def test_the_listener_would_have_heard(graded: Graded):
    assert {"AF_INET", "AF_UNIX"} <= graded.knocks


# --- nothing given away -----------------------------------------------------------------------------------------------


def test_no_secret_is_in_what_students_get(graded: Graded):
    numbers = _hidden_numbers()
    for student, page in graded.feedback.items():
        assert not [word for word in (*CANARIES, *numbers) if word in page], student
    assert set(HONEST) < graded.feedback.keys()


def _hidden_numbers() -> list[str]:
    """Expected values of the hidden tests of this class, as a failing check writes them."""
    from utils import checks

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_SEED", SEED)
        checks.start_lesson(LESSON)
        with checks.exercise("double", points=2):
            checks.randn(4, 5)
            hidden = checks.randn(3, dtype=checks.torch.float64)
    return [f"{number:.4g}" for number in (2 * hidden).tolist()]


def test_no_secret_is_in_what_students_code_printed(graded: Graded):
    for student in graded.report.students:
        secrets = [word for text in _outputs(graded, student) for word in CANARIES if word in text]
        assert secrets == [], student


def test_no_script_is_in_the_feedback(graded: Graded):
    found = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.extend([tag] * (tag in ("script", "svg", "iframe", "object", "embed", "form", "base")))
            found.extend(name for name, value in attributes if name.startswith("on") or "javascript:" in (value or ""))

    Reader().feed(graded.feedback["forgery_scripts_in_outputs"])
    assert found == []


def test_the_report_has_no_control_characters(graded: Graded):
    """A terminal would obey them."""
    for student, report in graded.report.students.items():
        said = [*report.hints.values(), *report.repairs, *report.limits_hit, graded.report.problems.get(student, "")]
        assert not [text for text in said if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e]", text)], (
            student
        )


def test_no_result_grows_without_bound(graded: Graded):
    sizes = {
        path: path.stat().st_size for step in ("autograded", "results", "feedback") for path in _files(graded, step)
    }
    assert {path.name: size for path, size in sizes.items() if size > 25 * 2**20} == {}


def _files(graded: Graded, step: str) -> list[Path]:
    return [path for path in (graded.folder / step).rglob("*") if path.is_file()]
