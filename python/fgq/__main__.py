"""``python -m fgq``: the command."""

import signal
import sys

from ._fgq import command_line


def main() -> int:
    """Runs the command with this process's arguments; its exit code."""
    # Ctrl-C ends the command, as it does without Python.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return command_line(["fgq", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
