"""What `import samplesmith` costs: a fresh process that imports it, against one that does nothing.

    python benchmarks/import_time.py --output benchmarks/results/import_time.json

The two take turns, so that whatever else the machine does meets both. Beside them stands `import diffusers`, which
every script pays that uses a pipeline. Processor time is that of the child process, user and system.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

BARE = "pass"
CODES = {"samplesmith": "import samplesmith", "diffusers": "import diffusers"}


def fresh(code: str) -> str:
    """What a fresh interpreter prints that runs some code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return run.stdout


def cost(code: str) -> dict[str, float]:
    """Milliseconds of a fresh interpreter that runs some code, on the clock and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    fresh(code)
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": 1e3 * (ended - started), "processor": 1e3 * used}


def spread(values: list[float]) -> dict[str, float]:
    low, *_, high = statistics.quantiles(values, n=10)
    return {"low": low, "median": statistics.median(values), "high": high}


def compare(code: str, runs: int) -> dict[str, dict[str, dict[str, float]]]:
    """Spreads over pairs of processes: what the code adds to a bare one, and the ratio of the two."""
    pairs = []
    for k in range(runs + 1):
        order = [BARE, code] if k % 2 else [code, BARE]
        found = {one: cost(one) for one in order}
        if k:  # the first pair writes the compiled modules
            pairs.append((found[BARE], found[code]))
    return {
        clock: {
            "bare_milliseconds": spread([bare[clock] for bare, _ in pairs]),
            "milliseconds_added": spread([ours[clock] - bare[clock] for bare, ours in pairs]),
            "ratio_to_bare": spread([ours[clock] / bare[clock] for bare, ours in pairs]),
        }
        for clock in ("clock", "processor")
    }


def modules(code: str) -> int:
    """Modules that some code loads beyond those of a bare interpreter."""
    bare, ours = (int(fresh(f"{one}; import sys; print(len(sys.modules))")) for one in (BARE, code))
    return ours - bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name, code in CODES.items():
        runs = arguments.runs if name == "samplesmith" else max(5, arguments.runs // 8)
        rows.append({"import": name, "runs": runs, "modules": modules(code), **compare(code, runs)})
        added, ratio = rows[-1]["clock"]["milliseconds_added"], rows[-1]["clock"]["ratio_to_bare"]
        print(
            f"import {name:12} +{added['median']:8.1f} ms [{added['low']:.1f}, {added['high']:.1f}]  "
            f"x{ratio['median']:.2f} of a bare interpreter, {rows[-1]['modules']} modules",
            flush=True,
        )
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[1],
        "spread": "10th percentile, median and 90th percentile of the runs",
        "rows": rows,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
