"""The program and the command line that repeat a run."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from page_jobs import follow_work
from samplesmith.app.page.models import IN_HAND, Models
from samplesmith.app.page.search.request import SearchRequest
from samplesmith.app.page.search.run import search_job
from samplesmith.app.page.search.snippet import search_command, search_snippet

ASKED = SearchRequest("emoji-sd3", "a star on blue", "emoji-clip", "emoji-detector", "random", 8, 0, 4)


def changed(**changes):
    return SearchRequest(**{**vars(ASKED), **changes})


def test_snippets_quote_what_a_visitor_wrote():
    asked = changed(prompt='it\'s "a" $(star)`x` on \\ blue', judge=None, steps=12, guidance_scale=2.5)
    code = search_snippet(asked, {"num_candidates": 8}, Models())
    compile(code, "snippet", "exec")
    assert "num_candidates=8" in code
    assert "judge" not in code
    command = search_command(asked, {"num_candidates": 8}, Models())
    import shlex

    words = shlex.split(command)
    assert words[:3] == ["samplesmith", "search", asked.prompt]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options["--candidates"] == "8"
    assert options["--steps"] == "12"
    assert options["--guidance-scale"] == "2.5"
    assert "--judge" not in options


def test_a_pipeline_in_hand_has_no_command_line():
    class Pipe:
        pass

    models = Models(pipe=Pipe())
    asked = changed(model=IN_HAND)
    assert "Pipe that the page was opened on" in search_snippet(asked, {"num_candidates": 8}, models)
    assert search_command(asked, {"num_candidates": 8}, models).startswith("# your pipeline: an object in your program")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "zero-order"])
def test_the_snippet_and_the_command_line_find_the_same_winner_in_a_fresh_process(studio, costs, tmp_path, strategy):
    asked = changed(strategy=strategy).check(studio.models, studio.limits)
    _, outcome = follow_work(studio, search_job(studio, costs, asked, tmp_path))
    code = search_snippet(asked, outcome.size, studio.models)
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seed, score = re.search(r"seed (\d+), score ([-.\d]+)", run.stdout).groups()
    assert int(seed) == outcome.best.seed
    assert float(score) == pytest.approx(outcome.best.score, abs=1e-4)
    words = shlex.split(search_command(asked, outcome.size, studio.models))
    run = subprocess.run([sys.executable, "-m", *words, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (best,) = json.loads(run.stdout)["best"]
    assert best["seed"] == outcome.best.seed
    assert best["score"] == pytest.approx(outcome.best.score, abs=1e-4)
