"""The instructor's side of the course: build lessons, audit their tests, grade a class."""

import sys

# jsonschema, behind nbformat, would build a grammar of international addresses from this as it is imported: 1.2 s.
sys.modules.setdefault("rfc3987_syntax", None)
