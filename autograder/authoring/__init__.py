"""Write a lesson: parse its source, lint it, build its notebooks, audit its tests, publish the student tree."""
