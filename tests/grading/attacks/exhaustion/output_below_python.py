# Tries: to write 300 MB on the file descriptors of the kernel, from a process of its own.
# Deserves: shift 2, triangle 2.
# Answers: shift, triangle.
# %% before double
import subprocess
import sys

program = "import os\nfor _ in range(300): os.write(1, b'x' * 2**20); os.write(2, b'y' * 2**10)"
subprocess.run([sys.executable, "-c", program])
