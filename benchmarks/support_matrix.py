"""Every method on a toy of every pipeline class: `docs/pipelines.md` and `results/support_matrix.json`.

    python benchmarks/support_matrix.py                 # rows whose answers are older than the code are run again
    python benchmarks/support_matrix.py FluxPipeline    # some rows, whatever stands
    python benchmarks/support_matrix.py --faults        # the rows with faults again
    python benchmarks/support_matrix.py --check NAME    # one check where a row has no answer to it; the others stand
    python benchmarks/support_matrix.py --page          # only the page and the summary, from what stands

What a cell runs is in `support_checks.py`, what became of it in `support_cells.py`, the toys in `tests/toys/`. A row
runs in a worker process that is ended where it takes longer than its time; saved pipelines are loaded in a second
process, which builds nothing. What is done is on disk row by row, so an interrupted run goes on where it stood.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "support_matrix.json"
ROW_SECONDS = 240
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--check", metavar="NAME")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work()
        return
    from toys import TOYS

    if unknown := [row for row in given.rows if row not in TOYS]:
        raise SystemExit(f"no toy {unknown[0]!r}; there are {', '.join(sorted(TOYS))}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    rows = {row: known["rows"][row] for row in TOYS if row in known["rows"]}
    stamp = code_stamp()
    due = [
        row
        for row in TOYS
        if (row in given.rows if given.rows else given.check or row not in rows or rows[row]["code"] != stamp)
        and (not given.faults or faults(rows.get(row, {})))
        and (not given.check or given.rows or given.faults or given.check not in rows[row]["cells"])
    ]
    if not given.page:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch, Worker() as builder, Worker() as loader:
            for number, row in enumerate(due, 1):
                if given.check:
                    answer = run_check(row, given.check, rows[row], builder)
                else:
                    answer = {"code": stamp, **run_row(row, Path(scratch), builder, loader)}
                rows[row] = {"class": row.split(",")[0], **answer}
                write(rows)
                states = "".join(
                    {"yes": ".", "refused": "r", "stock": "s"}.get(c["state"], "F") for c in answer["cells"].values()
                )
                print(f"{number}/{len(due)} {row}: {states} {answer['seconds']} s", flush=True)
                for name, why in faults(rows[row]).items():
                    print(f"    {name}: {why}", flush=True)
        print(f"{len(due)} rows in {time.monotonic() - began:.0f} s")
    from support_page import page, summary

    write(rows)
    (ROOT / "docs" / "pipelines.md").write_text(page(json.loads(RESULTS.read_text())))
    print(summary(json.loads(RESULTS.read_text())))


def write(rows: dict[str, Any]) -> None:
    from importlib.metadata import version

    from pipeline_classes import pipeline_classes
    from toys import TOYS

    versions = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    content = {
        "versions": versions,
        "rows": {row: rows[row] for row in TOYS if row in rows},
        "classes": pipeline_classes(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def faults(row: dict[str, Any]) -> dict[str, str]:
    return {name: cell["why"] for name, cell in row.get("cells", {}).items() if cell["state"] == "fault"}


def code_stamp() -> str:
    """Of all code that a cell goes through."""
    files = [
        file for part in ("samplers", "pipelines", "verifiers", "tests/toys") for file in (ROOT / part).rglob("*.py")
    ]
    files += [ROOT / "benchmarks" / f"support_{part}.py" for part in ("cells", "checks", "toys", "watch")]
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:12]


def run_row(row: str, scratch: Path, builder: Worker, loader: Worker) -> dict[str, Any]:
    from support_checks import CHECKS, SAVED

    began, cells = time.monotonic(), {}
    deadline = began + ROW_SECONDS
    for name in CHECKS:
        cells[name] = builder.ask({"row": row, "check": name}, deadline)
    for name in SAVED:
        folder = scratch / hashlib.sha256(f"{row} {name}".encode()).hexdigest()[:16]
        cells[name] = builder.ask({"row": row, "save": name, "folder": str(folder)}, deadline)
        if cells[name]["state"] == "yes":
            cells[name] = loader.ask({"row": row, "load": str(folder)}, deadline)
    support = builder.ask({"row": row, "support": True}, deadline)
    return {"seconds": round(time.monotonic() - began, 1), "cells": cells, "support": support}


def run_check(row: str, check: str, known: dict[str, Any], builder: Worker) -> dict[str, Any]:
    """A row with a new answer to one check, and to what the package says of the row."""
    deadline = time.monotonic() + ROW_SECONDS
    outcome = builder.ask({"row": row, "check": check}, deadline)
    support = builder.ask({"row": row, "support": True}, deadline)
    return {**known, "cells": {**known["cells"], check: outcome}, "support": support}


class Worker:
    """A process that answers requests, one line of JSON each; ended where it is late, and begun anew."""

    def __enter__(self) -> Worker:
        self._start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._process.kill()

    def _start(self) -> None:
        read, write = os.pipe()  # the answers' own line: whatever a library prints goes to stderr
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[write],
            env={**os.environ, "ANSWERS": str(write), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            text=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._answers, selectors.EVENT_READ)

    def ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        if not self._ready.select(max(1.0, deadline - time.monotonic())):
            self._process.kill()
            self._start()
            return {"state": "fault", "why": f"the row took longer than {ROW_SECONDS} s"}
        line = self._answers.readline()
        if not line:
            code = self._process.wait()
            self._start()
            return {"state": "fault", "why": f"the process ended with exit code {code}"}
        return json.loads(line)


def work() -> None:
    """Answer requests from standard input."""
    import warnings

    warnings.filterwarnings("ignore")
    from support_cells import quiet

    quiet()
    answers = os.fdopen(int(os.environ["ANSWERS"]), "w")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What became of one request."""
    import shutil

    from support_cells import cell, told
    from support_checks import CHECKS, SAVED, SEVERAL, loaded, saved
    from support_toys import Toy

    toy = Toy(request["row"])
    if "check" in request:
        name = request["check"]
        return cell(toy, lambda: CHECKS[name](toy), name in SEVERAL)
    if "save" in request:
        make = SAVED[request["save"]]
        return cell(toy, lambda: saved(toy, make, Path(request["folder"])))
    if "load" in request:
        outcome = cell(toy, lambda: loaded(toy, Path(request["load"])))
        shutil.rmtree(request["load"], ignore_errors=True)
        return outcome
    return told(toy)


if __name__ == "__main__":
    main()
