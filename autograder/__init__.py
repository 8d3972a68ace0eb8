"""The instructor's side of the course: build lessons, audit their tests, grade a class."""
