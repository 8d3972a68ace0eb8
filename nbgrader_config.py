"""The one nbgrader configuration: it maps nbgrader's steps on this repository's folders."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821 - given by nbgrader

root = Path(__file__).resolve().parent
(root / "class").mkdir(exist_ok=True)
# nbgrader runs `alembic` by name when it makes a gradebook; it is installed beside the Python that runs this.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])

# A class is graded at the smallest scale and without pictures; a person at a notebook keeps their own scale.
if "autograde" in sys.argv:
    os.environ.setdefault("COURSE_SCALE", "smoke")
    os.environ.setdefault("COURSE_PLOTS", "off")

c.CourseDirectory.course_id = "attention-to-alignment"
c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "notebooks"
c.CourseDirectory.submitted_directory = "class/submitted"
c.CourseDirectory.autograded_directory = "class/autograded"
c.CourseDirectory.feedback_directory = "class/feedback"
c.CourseDirectory.solution_directory = "class/solution"
c.CourseDirectory.db_url = f"sqlite:///{root / 'class' / 'gradebook.db'}"

# Everything in a lesson's folder but the notebook would be copied to students: the source and the planted answers, too.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache", ".DS_Store", "*.py", "*.tmp"]

# nbgrader scores a test that wrote anything to stderr, a warning for example, as 0. Only an error is one.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"

c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.Execute.timeout = 60
