"""Kill a search at random moments, run it again, and hold the records against those of an undisturbed run.

python benchmarks/kill_and_resume.py --kills 20 --output benchmarks/results/kill_and_resume.json
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 2
COMMAND = [
    "search",
    "two cats and three stars on blue",
    "--candidates",
    "12",
    "--steps",
    "12",
    "--batch-size",
    str(BATCH),
]


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "samplesmith", *COMMAND, "--json", "--output", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def begun(folder: Path) -> float:
    """Wait until the search itself begins, loading done; the moment."""
    while not (folder / "run.json").exists():
        time.sleep(0.01)
    return time.monotonic()


def whole_lines(file: Path) -> bytes:
    data = file.read_bytes() if file.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    moments, rows = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory() as work:
        undisturbed = start(Path(work) / "whole")
        started = begun(Path(work) / "whole")
        assert undisturbed.wait() == 0
        seconds = time.monotonic() - started
        expected = (Path(work) / "whole/records.jsonl").read_bytes()
        for k in range(arguments.kills):
            folder = Path(work) / f"killed{k}"
            process = start(folder)
            begun(folder)
            time.sleep(moments.uniform(0.0, 0.9) * seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
            before = whole_lines(folder / "records.jsonl")
            old = {file: file.stat().st_mtime_ns for file in folder.glob("images/*.png")}
            code = start(folder).wait()
            again = sum(file.stat().st_mtime_ns != moment for file, moment in old.items())
            rows.append(
                {
                    "recorded": before.count(b"\n"),
                    "evaluated_again": again,
                    "identical": code == 0 and whole_lines(folder / "records.jsonl") == expected,
                }
            )
            print(rows[-1], flush=True)
    result = {
        "kills": len(rows),
        "identical": sum(row["identical"] for row in rows),
        "killed_before_the_end": sum(row["recorded"] < expected.count(b"\n") for row in rows),
        "most_evaluated_again": max(row["evaluated_again"] for row in rows),
        "batch_size": BATCH,
        "runs": rows,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
