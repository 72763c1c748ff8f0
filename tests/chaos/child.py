"""`python -m tests.chaos.child PARENT COMMAND...`: become COMMAND, and die with PARENT.

The suite has threads, beside which no Python code may run between fork and exec; so it runs here.
"""

import os
import signal
import sys

from config.launcher import processes

if __name__ == "__main__":
    processes.die_with_parent(signal.SIGKILL, parent=int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
