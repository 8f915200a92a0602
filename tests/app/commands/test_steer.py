"""`samplesmith steer` as a user meets it."""

import json

EASY = "a star on blue"


def test_it_steers_with_its_defaults_goes_on_and_says_what_it_did(samplesmith, fails, tmp_path):
    arguments = ["steer", EASY, "--budget", "24", "--steps", "3", "--strategy", "rbf:warm_up=2", "--output", "out"]
    first = samplesmith(*arguments, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert summary["ledger"]["nfe"] == 24
    assert summary["best"][0]["status"] == "finished"
    records = (tmp_path / "out/records.jsonl").read_bytes()
    assert {json.loads(line)["status"] for line in records.splitlines()} == {"preview", "finished"}
    again = samplesmith(*arguments)
    nodes = len(records.splitlines())
    assert f"{nodes} nodes scored, 24 NFEs" in " ".join(again.stdout.split())
    assert (tmp_path / "out/records.jsonl").read_bytes() == records
    fails("budget was 24, now 30", *arguments, "--budget", "30")


def test_bad_input(fails):
    fails("steps is 0; give a whole number", "steer", EASY, "--steps", "0")
    fails("a path of 10 steps makes as many model calls", "steer", EASY, "--budget", "9")
    fails("random makes whole runs and steers none", "steer", EASY, "--strategy", "random")
    fails("unknown word 'dragon' in the prompt", "steer", "a dragon on blue")
