"""Grade a class: realign submissions, run them in a sandbox, examine them from outside, record the points."""
