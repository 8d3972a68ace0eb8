"""The data of the lessons: each module is imported by the lesson that reads it, and costs nothing before."""
