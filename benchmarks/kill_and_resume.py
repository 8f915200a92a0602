"""Kill a search at random moments, run it again, and hold the records against those of an undisturbed run.

A search goes on from its records. The rows that halving and steering go on with are made again, and recorded no second
time. Steering has a stochastic scheduler.

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
PROMPTS = ("two cats and three stars on blue", "a dog on pink", "three hearts on white")
STRATEGIES = ("random", "zero-order", "halving:rungs=[4],keep=0.5", "smc:first_scored=3")
"""The kills are dealt to them in turn."""


def start(folder: Path, strategy: str) -> subprocess.Popen:
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    command = [sys.executable, "-m", "samplesmith", "search", "--prompts", str(prompts), "--strategy", strategy]
    command += ["--scheduler", "stochastic"] if strategy.startswith("smc") else []
    command += ["--candidates", "6", "--steps", "12", "--batch-size", str(BATCH), "--json", "--output", str(folder)]
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
        expected, seconds = {}, {}
        for strategy in STRATEGIES:
            folder = Path(work) / strategy
            undisturbed = start(folder, strategy)
            started = last = begun(folder)
            recorded = b""
            while undisturbed.poll() is None:
                if (now := whole_lines(folder / "records.jsonl")) != recorded:
                    recorded, last = now, time.monotonic()
                time.sleep(0.01)
            assert undisturbed.returncode == 0
            expected[strategy], seconds[strategy] = whole_lines(folder / "records.jsonl"), last - started
        for k in range(arguments.kills):
            strategy = STRATEGIES[k % len(STRATEGIES)]
            folder = Path(work) / f"killed{k}"
            process = start(folder, strategy)
            begun(folder)
            total = expected[strategy].count(b"\n")
            until = moments.randrange(total)
            while whole_lines(folder / "records.jsonl").count(b"\n") < until and process.poll() is None:
                time.sleep(0.005)
            time.sleep(moments.uniform(0.0, 1.0) * seconds[strategy] / total)
            process.send_signal(signal.SIGKILL)
            process.wait()
            before = whole_lines(folder / "records.jsonl")
            old = {file: file.stat().st_mtime_ns for file in folder.glob("images/*.png")}
            code = start(folder, strategy).wait()
            again = sum(file.stat().st_mtime_ns != moment for file, moment in old.items())
            rows.append(
                {
                    "strategy": strategy,
                    "recorded": before.count(b"\n"),
                    "evaluated_again": again,
                    "identical": code == 0 and whole_lines(folder / "records.jsonl") == expected[strategy],
                }
            )
            print(rows[-1], flush=True)
    result = {
        "kills": len(rows),
        "identical": sum(row["identical"] for row in rows),
        "killed_before_the_end": sum(row["recorded"] < expected[row["strategy"]].count(b"\n") for row in rows),
        "most_evaluated_again": {
            strategy: max((row["evaluated_again"] for row in rows if row["strategy"] == strategy), default=0)
            for strategy in STRATEGIES
        },
        "batch_size": BATCH,
        "runs": rows,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
