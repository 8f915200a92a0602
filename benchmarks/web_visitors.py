"""Twenty visitors at once on the page, each with the smallest budget: what they get, when, and what memory is kept.

    python benchmarks/web_visitors.py --output benchmarks/results/web_visitors.json

Each visitor is a browser's worth of requests: a session that is kept alive, a search of one candidate of another
prompt, and a goodbye. A visitor ends well with a result of their own prompt, or with a polite sentence where the line
is full. Resident memory is read after a first search, and again when all have left.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from samplesmith.scenes import BACKGROUNDS, OBJECTS

PORT = 7899
URL = f"http://127.0.0.1:{PORT}"
POLITE = "visitors are in line already; please try again in a minute"


def start(home: Path) -> tuple[subprocess.Popen, float]:
    """The server, and the seconds until it answers."""
    command = [sys.executable, "-m", "samplesmith", "web", "--port", str(PORT)]
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=home, env={**os.environ, "TMPDIR": str(home)}, stdout=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(URL, timeout=5)
            return process, time.monotonic() - begin
        except OSError:
            time.sleep(0.05)


class Visitor:
    """A session as a browser holds one.

    Args:
        number: of the visitor.
    """

    def __init__(self, number: int):
        self.session = f"visitor{number}"
        self.prompt = f"a {OBJECTS[number % len(OBJECTS)]} on {list(BACKGROUNDS)[number % len(BACKGROUNDS)]}"
        self._alive = urllib.request.urlopen(f"{URL}/gradio_api/heartbeat/{self.session}", timeout=600)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        try:
            for _ in self._alive:
                pass
        except (OSError, ValueError, AttributeError):
            pass  # said goodbye

    def search(self, function: int) -> dict[str, object]:
        """One candidate; what came of it and when."""
        values = [self.prompt, "emoji-sd3", "emoji-clip", "emoji-detector", "random", 1, 0, 1, "", "", "", ""]
        body = {"data": values, "fn_index": function, "session_hash": self.session}
        begin = time.monotonic()
        request = urllib.request.Request(
            f"{URL}/gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=600).close()
        shown, ended = "", None
        with urllib.request.urlopen(f"{URL}/gradio_api/queue/data?session_hash={self.session}", timeout=600) as events:
            for line in events:
                if not line.startswith(b"data: "):
                    continue
                event = json.loads(line[6:])
                shown += json.dumps(event)
                if event["msg"] == "process_completed":
                    ended = event
                    break
        seconds = time.monotonic() - begin
        if ended["success"]:
            own = re.search(rf"{self.prompt}, candidate 1, seed 0, score -?\d\.\d+", shown)
            outcome = "result" if own else "wrong result"
        else:
            outcome = "polite" if POLITE in shown else "error"
        return {"visitor": self.session, "prompt": self.prompt, "outcome": outcome, "seconds": round(seconds, 2)}

    def leave(self) -> None:
        self._alive.close()


def megabytes(process: subprocess.Popen) -> float:
    return round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="times that all of them come")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        process, answered = start(Path(work))
        try:
            config = json.load(urllib.request.urlopen(f"{URL}/config", timeout=60))
            function = next(one["id"] for one in config["dependencies"] if one.get("api_name") == "search")
            first = Visitor(0)
            warm = first.search(function)
            first.leave()
            time.sleep(3)
            before = megabytes(process)
            rows, after = [], []
            for _ in range(arguments.rounds):
                visitors = [Visitor(number) for number in range(arguments.visitors)]
                with ThreadPoolExecutor(arguments.visitors) as pool:
                    rows.append(list(pool.map(lambda one: one.search(function), visitors)))
                for one in visitors:
                    one.leave()
                time.sleep(5)
                after.append(megabytes(process))
            left = [str(file) for home in Path(work).glob("samplesmith-web-*") for file in home.rglob("*.png")]
        finally:
            process.terminate()
            process.wait()
    everyone = [row for one in rows for row in one]
    result = {
        "visitors": arguments.visitors,
        "rounds": arguments.rounds,
        "answered after seconds": round(answered, 2),
        "first search, models loaded on the way": warm,
        "outcomes": {kind: sum(row["outcome"] == kind for row in everyone) for kind in ("result", "polite")},
        "neither": [row for row in everyone if row["outcome"] not in ("result", "polite")],
        "longest wait for a result in seconds": max(r["seconds"] for r in everyone if r["outcome"] == "result"),
        "longest wait for a polite sentence": max(
            (r["seconds"] for r in everyone if r["outcome"] == "polite"), default=0
        ),
        "resident megabytes before": before,
        "resident megabytes after each round": after,
        "pictures left on disk": left,
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
