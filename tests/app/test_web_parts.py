"""The parts of the page, without a browser: the line, the visitors, what may be asked, and what is shown."""

import json
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import samplesmith
from samplesmith.app.line import FullError, Line, Stopped, Waiting
from samplesmith.app.line_chart import Series, line_chart
from samplesmith.app.measured_shift import measured
from samplesmith.app.models import IN_HAND, Models
from samplesmith.app.pictures import Picture, grid, notice, progress
from samplesmith.app.search_request import Limits, SearchRequest
from samplesmith.app.shift_comparison import ShiftRequest, saturated_share
from samplesmith.app.snippet import search_command, search_snippet
from samplesmith.app.studio import told
from samplesmith.app.visitors import IDLE, BusyError, Visitors
from samplesmith.assets import call_defaults

ASKED = SearchRequest("emoji-sd3", "a star on blue", "emoji-clip", "emoji-detector", "random", 8, 0, 4)
SHIFT = ShiftRequest("emoji-sd3", "a star on blue", "flow-euler", 8, 40, 200, "paper", 0.0, True, 4, 0)


def changed(**changes):
    return SearchRequest(**{**vars(ASKED), **changes})


def followed(line, job):
    news = []
    following = line.follow(job)
    while True:
        try:
            news.append(next(following))
        except StopIteration as end:
            return news, end.value


@pytest.fixture
def line():
    line = Line(3)
    yield line
    line.close()


def test_the_line_serves_one_at_a_time_and_shows_places(line):
    gate, order = threading.Event(), []

    def work(name):
        def run(job):
            gate.wait(10)
            order.append(name)
            job.report(name)
            return name

        return run

    jobs = [line.join(work(name)) for name in "abc"]
    with pytest.raises(FullError, match="3 visitors are in line already"):
        line.join(work("d"))
    following = line.follow(jobs[2])
    assert next(following) == Waiting(2)
    gate.set()
    assert followed(line, jobs[0]) == (["a"], "a")
    assert followed(line, jobs[1]) == (["b"], "b")
    assert "c" in list(following)
    assert order == ["a", "b", "c"]
    line.join(work("e"))  # there is room again


def test_a_waiting_job_leaves_the_line_and_never_runs(line):
    gate, ran = threading.Event(), []
    first = line.join(lambda job: gate.wait(10))
    second = line.join(lambda job: ran.append(1))
    second.stop()
    with pytest.raises(Stopped):
        followed(line, second)
    gate.set()
    followed(line, first)
    assert not ran


def test_what_the_work_raises_reaches_who_follows(line):
    def broken(job):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        followed(line, line.join(broken))


def test_visitors_have_folders_of_their_own_and_leave_nothing(line):
    visitors = Visitors()
    one, other = visitors.visitor("../../etc"), visitors.visitor("b")
    folder = one.new_folder("Search")
    assert folder.is_relative_to(visitors.home)
    assert not folder.is_relative_to(other.folder)
    assert visitors.visitor("../../etc") is one
    again = one.new_folder("Search")
    assert again != folder
    assert not folder.exists(), "the last run's files go when the next begins"

    gate = threading.Event()

    def work(job):
        (again / "seen.txt").write_text("x")
        gate.wait(10)
        (again / "late.txt").write_text("x")

    job = line.join(work)
    one.began("Search", job)
    with pytest.raises(BusyError, match="still under way"):
        one.new_folder("Search")
    assert one.new_folder("Time shift").exists()
    visitors.leave("../../etc")
    assert job.stopped
    assert again.exists(), "while the run has not let go"
    gate.set()
    followed(line, job)
    for _ in range(100):
        if not one.folder.exists():
            break
        time.sleep(0.02)
    assert not one.folder.exists()
    visitors.close()
    assert not visitors.home.exists()


def test_scripts_that_never_say_goodbye_are_forgotten_but_open_pages_are_not():
    visitors = Visitors()
    script, page = visitors.visitor("script"), visitors.visitor("page")
    visitors.open("page")
    folders = [one.new_folder("Search") for one in (script, page)]
    script.seen -= 2 * IDLE
    visitors.visitor("another")
    page.seen -= 2 * IDLE
    visitors.visitor("another")
    assert [folder.exists() for folder in folders] == [False, True]
    visitors.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a dragon on blue"}, "unknown word 'dragon' in the prompt; known objects: cat"),
        ({"prompt": "cats on"}, "is not a scene"),
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": None}, "the prompt is empty"),
        ({"prompt": "a star on blue " * 700_000}, "the prompt has 10,500,000 characters; write at most 400"),
        ({"model": "/etc/passwd"}, "no model '/etc/passwd' on this page; it has emoji-sd3"),
        ({"verifier": "vlm:x@http://evil"}, "no verifier 'vlm:x@http://evil' on this page; it has emoji-clip"),
        ({"judge": "/etc/passwd"}, "no judge '/etc/passwd' on this page; it has emoji-detector"),
        ({"verifier": {"a": 1}}, "no verifier"),
        ({"strategy": 3}, "the strategy is no text"),
        ({"candidates": 1000}, "the budget is 1000; give a number from 1 to 64 candidates"),
        ({"candidates": 0}, "the budget is 0"),
        ({"candidates": -3}, "the budget is -3"),
        ({"candidates": float("nan")}, "the budget is nan"),
        ({"candidates": float("inf")}, "the budget is inf"),
        ({"candidates": 10**400}, "the budget is 1000000"),
        ({"candidates": 2.5}, "give a whole number from 1 to 64 candidates"),
        ({"candidates": "8"}, "the budget is no number"),
        ({"candidates": True}, "the budget is no number"),
        ({"seed": -1}, "the seed is -1"),
        ({"steps": 10_000}, "the number of steps is 10000; give a number from 1 to 100"),
        ({"steps": 0}, "the number of steps is 0"),
        ({"steps": "nan"}, "the number of steps is nan"),
        ({"steps": "many"}, "the number of steps is 'many'; give a number from 1 to 100"),
        ({"steps": "100", "candidates": 64}, "one visitor may ask for 3,200 steps in all"),
        ({"batch_size": 100}, "the number of candidates in one call is 100"),
        ({"guidance_scale": float("nan")}, "the guidance scale is nan"),
        ({"height": 100_000}, "the height is 100000; give a number from 8 to 1536 pixels"),
    ],
)
def test_what_may_not_be_asked_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        changed(**changes).check(Models(), Limits())
    assert message in str(error.value)


def test_steps_auto_need_a_calibration():
    with pytest.raises(ValueError, match="toys/sd carries no calibration, which steps 'auto' need"):
        changed(model="toys/sd", steps=" Auto").check(Models("toys/sd"), Limits())


def test_a_field_that_is_left_empty_keeps_the_model_s_own():
    asked = changed(steps="", guidance_scale=" ", height=None, width="").check(Models(), Limits())
    assert asked.arguments() == call_defaults("emoji-sd3")
    asked = changed(steps="12", guidance_scale="2.5").check(Models(), Limits())
    assert asked.arguments() == call_defaults("emoji-sd3") | {"num_inference_steps": 12, "guidance_scale": 2.5}


def test_numbers_are_checked_into_python_s_own():
    asked = changed(candidates=8.0, seed=3.0, steps=12.0, prompt=" a star on blue\n").check(Models(), Limits())
    assert (asked.candidates, asked.seed, asked.steps, asked.prompt) == (8, 3, 12, "a star on blue")
    assert asked.arguments() == call_defaults("emoji-sd3") | {"num_inference_steps": 12}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": -1}, "the window is -1"),
        ({"cutoff": float("nan")}, "the cutoff is nan"),
        ({"steps": 1}, "the number of steps is 1"),
        ({"variant": "__init__"}, "no variant '__init__' on this page; it has paper, reference"),
        ({"images": 9}, "the number of images is 9"),
        ({"data_variance": -0.5}, "the data variance is -0.5"),
        ({"condition": "a unicorn on blue"}, "unknown word 'unicorn'"),
        ({"condition": ["a"]}, "the prompt is empty"),
    ],
)
def test_what_may_not_be_asked_of_time_shift(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        ShiftRequest(**{**vars(SHIFT), **changes}).check(Models(), Limits())
    assert message in str(error.value)


def test_models_offers_what_fits_and_nothing_else():
    models = Models()
    assert models.pipelines[0] == "emoji-sd3"
    assert models.guides("emoji-sd3")[0] == "emoji-clip"
    assert models.default_judge("emoji-sd3") == "emoji-detector"
    assert models.solver("emoji-sd3") == "FlowMatchEulerDiscreteScheduler"
    assert models.default_steps("emoji-sd3") == 28
    with pytest.raises(ValueError, match="no verifier 'vlm:x@http://evil' for emoji-sd3 on this page"):
        models.judge_or_guide("vlm:x@http://evil", "emoji-sd3")
    with pytest.raises(ValueError, match="no model"):
        models.pipeline("someone/else")
    other = Models("toys/sd", judge=None)
    assert other.pipelines[:2] == ["toys/sd", "emoji-sd3"]
    assert other.guides("toys/sd")[0] == "emoji-clip"
    assert other.default_judge("toys/sd") is None


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


def test_what_is_shown_is_escaped_and_keeps_its_places(tmp_path):
    evil = '<script>alert("x")</script>'
    html = grid([Picture(tmp_path / "a b.png", evil, evil, marked=True)], places=4, label=evil)
    assert "<script>" not in html
    assert html.count("<figure") == 4
    assert html.count('class="cell best"') == 1
    assert "a%20b.png" in html
    assert "<b>" not in notice("<b>", "wrong")
    assert 'role="alert"' in notice("x", "wrong")
    assert 'aria-valuenow="50"' in progress("half", 0.5)


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(0, 1.0), (1, 1.0)], [(0, 0.1), (1, float("-inf")), (2, 1e-9)]])
def test_charts_are_svg_within_their_frame(points):
    svg = line_chart([Series("a & b", points, "dots", 1, ["<x>"] * 3), Series("c", points, "steps")], "x", "y")
    root = ET.fromstring(svg)
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx")) <= 480
        assert 0 <= float(circle.get("cy")) <= 240
    for line in root.iter("polyline"):
        spots = np.array([spot.split(",") for spot in line.get("points").split()], float)
        assert ((spots >= 0) & (spots <= [480, 240])).all()


def test_errors_are_told_in_one_sentence():
    assert told(ValueError("bad thing\nwith a trace")) == "bad thing"
    assert told(RuntimeError("boom\nmore")) == "this run failed: RuntimeError: boom"
    assert told(ZeroDivisionError()) == "this run failed: ZeroDivisionError"


def test_saturated_share():
    grid_times = [1000.0, 700.0, 400.0, 100.0]
    chosen = [[1000.0, 1000.0], [680.0, 700.0], [420.0, 380.0], [100.0, 100.0]]
    assert saturated_share(SHIFT, grid_times, chosen, 1000) == 0.75  # the last is below the cutoff, the first unmatched
    assert saturated_share(ShiftRequest(**{**vars(SHIFT), "variant": "reference"}), grid_times, chosen, 1000) is None
    assert saturated_share(ShiftRequest(**{**vars(SHIFT), "window": 0}), grid_times, chosen, 1000) is None


def test_measured_rows_are_read_whichever_way_they_went(tmp_path):
    file = tmp_path / "timeshift_fid.json"
    cell = {"solver": "ddim", "steps": 10, "arm": "paper", "window": 40, "cutoff": 200, "fid": [12.0, 14.0]}
    plain = {"solver": "ddim", "steps": 10, "arm": "plain", "window": 0, "cutoff": 0, "fid": [10.0, 12.0]}
    cell |= {"ratio": 1.18, "ratio_interval": [1.1, 1.26]}
    file.write_text(json.dumps({"model": "fashion-ddpm", "cells": [plain, cell]}))
    asked = ShiftRequest("fashion-ddpm", "Bag", "ddim", 10, 40, 200, "paper", 0.0, True, 4, 0)
    assert measured(asked, file) == "FID 13.00, plain 11.00, ratio 1.180 [1.100, 1.260]: worse than plain"
    assert measured(ShiftRequest(**{**vars(asked), "window": 0}), file) == "FID 11.00 (plain)"
    for other in ({"window": 80}, {"model": "emoji-sd3"}, {"per_image": False}, {"variant": "reference"}):
        assert measured(ShiftRequest(**{**vars(asked), **other}), file) is None
    file.write_text("{}")
    assert measured(asked, file) is None
    assert measured(asked, tmp_path / "none.json") is None


def test_the_figures_of_the_reliability_page_are_those_of_its_script():
    root = Path(samplesmith.__file__).parent
    text = (root / "docs/reliability.md").read_text()
    found = json.loads((root / "benchmarks/results/web_visitors.json").read_text())
    everyone = found["visitors"] * found["rounds"]
    assert f"| answers after its start | {found['answered after seconds']:.1f} s |" in text
    assert (
        f"the models loaded on the way | {found['first search, models loaded on the way']['seconds']:.1f} s |" in text
    )
    assert f"| {found['outcomes']['result']} of {everyone} |" in text
    assert f"| {found['outcomes']['polite']} of {everyone}, within " in text
    assert f"| longest wait for a result | {found['longest wait for a result in seconds']:.1f} s |" in text
    assert f"{found['resident megabytes before']:,.0f} MB; " in text
    assert all(f"{memory:,.0f}" in text for memory in found["resident megabytes after each round"])
    assert not found["neither"]
    assert not found["pictures left on disk"]
