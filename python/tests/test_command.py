"""``python -m fgq``."""

import subprocess
import sys

import fgq


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "fgq", *arguments], capture_output=True, text=True)


def test_it_is_the_command():
    assert fgq.__version__ in run("--version").stdout
    assert "convert" in run("--help").stdout
    assert run("info").returncode == 0


def test_exit_codes():
    assert run("convert").returncode == 2
    failed = run("inspect", "no-such-file.fgq")
    assert failed.returncode == 2 and "no-such-file.fgq" in failed.stderr
