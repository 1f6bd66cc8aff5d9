#!/usr/bin/env python3
"""Peak memory and time of whole commands: `fgq classify` on one image (cold start: load, run, print) and `fgq eval`.

    cargo build --release
    python3 benches/footprint.py model.fgq images/ [--fgq target/release/fgq] [--repeat 10] [--json]

`images/` holds labelled images as `fgq eval` takes them. Linux and macOS; the standard library suffices.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def measure(command):
    """Seconds of wall time and peak resident memory in MB of one command."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"exit code {child.returncode}: {' '.join(map(str, command))}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def first_image(folder):
    paths = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return min(path for path in paths if path.suffix.lower() in SUFFIXES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--fgq", default="target/release/fgq")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    commands = {
        "classify": [args.fgq, "classify", args.model, first_image(args.images)],
        "eval": [args.fgq, "eval", args.model, "--images", args.images],
    }
    result = {}
    for name, command in commands.items():
        runs = [measure(command) for _ in range(args.repeat if name == "classify" else 1)]
        seconds = [run[0] for run in runs]
        result[name] = {
            "seconds_median": round(statistics.median(seconds), 3),
            "seconds_max": round(max(seconds), 3),
            "peak_mb": round(max(run[1] for run in runs), 1),
        }
    if args.json:
        print(json.dumps(result))
        return
    for name, row in result.items():
        print(f"{name:9} {row['seconds_median']:.3f} s median, {row['seconds_max']:.3f} s at most, {row['peak_mb']} MB")


if __name__ == "__main__":
    main()
