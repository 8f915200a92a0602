"""The guidance tab's work: the same noises in every way, what each costs, and the lines that make them again."""

import shlex
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from page_turns import follow_work
from PIL import Image
from samplesmith import assets
from samplesmith.app.page.guidance.comparison import CallMade, GuidanceRequest, Made, run_comparison
from samplesmith.app.page.guidance.view import panel, ways
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.models import Models
from samplesmith.app.page.on_the_way import OnTheWay
from samplesmith.models.weak_model import WeakModel
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.row import Row

ASKED = GuidanceRequest("emoji-sd3", "a star on blue", 3.0, 4, 1.0, 0.5, 2, 3)


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """A weak model that is the conditional prediction, shipped with emoji-sd3."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WeakModel(8, condition_width=256, width=16, layers=1).save_pretrained(tmp_path / "weak")
    monkeypatch.setattr(assets, "weak_model", lambda model: str(tmp_path / "weak") if model == "emoji-sd3" else None)


def made_in(studio, request, folder):
    folder.mkdir()
    return follow_work(studio, partial(run_comparison, studio, request, folder))


def test_the_ways_are_those_of_the_hooks_from_the_same_noises(studio, untrained, tmp_path):
    """By identities: slow at 1 is guidance; fast with r = c is what an empty interval leaves."""
    news, found = made_in(studio, ASKED.check(studio.models, studio.limits), tmp_path / "a")
    by = {one.way.title: one for one in found.made}
    assert list(by) == ["Guidance", "Fast", "Slow", "Interval", "Zigzag"]
    assert {title: one.nfe for title, one in by.items()} == {
        "Guidance": 8, "Fast": 4, "Slow": 8, "Interval": 6, "Zigzag": 3 * 5 + 2
    }  # fmt: skip
    pipe = studio.models.pipeline("emoji-sd3")
    plain, _ = PipelineCall(pipe, ASKED.arguments)(Row.draws("a star on blue", [3, 4]))
    files = {title: [file.read_bytes() for file in one.files] for title, one in by.items()}
    assert all((np.asarray(Image.open(a)) == b).all() for a, b in zip(by["Guidance"].files, plain, strict=True))
    assert files["Slow"] == files["Guidance"]
    assert files["Fast"] != files["Interval"] != files["Guidance"] != files["Zigzag"]
    assert found.judge == "emoji-detector"
    assert all(len(one.seen) == 2 for one in found.made)
    assert [one for one in news if isinstance(one, Made)] == found.made
    assert any(isinstance(one, OnTheWay) for one in news)
    shown = panel(found.made, ASKED)
    assert shown.index("a star on blue") < shown.index("Guidance") < shown.index("8 NFEs")
    assert shown.count('class="cell best"') == 1
    assert shown.count("The judge says") == 2
    assert max(one.call for one in news if isinstance(one, CallMade) and one.way == "Zigzag") == 3 * 3 + 1

    _, empty = made_in(studio, replace(ASKED, stop=0.0), tmp_path / "b")
    (interval,) = [one for one in empty.made if one.way.title == "Interval"]
    assert [file.read_bytes() for file in interval.files] == files["Fast"]


def test_a_model_without_a_weak_one_is_guided_in_the_ways_that_need_none(monkeypatch):
    monkeypatch.setattr(assets, "weak_model", lambda model: None)
    assert [way.title for way in ASKED.ways] == ["Guidance", "Interval", "Zigzag"]
    assert "Fast and slow steps need a weak model, and none ships with emoji-sd3" in ways([], ASKED)


def test_the_lines_make_the_same_pictures(studio, samplesmith, untrained, tmp_path):
    asked = replace(ASKED, steps=2, scale=1.5)
    _, found = made_in(studio, asked, tmp_path / "shown")
    commands = asked.command().splitlines()
    assert len(commands) == len(found.made) == 5
    for command, made in list(zip(commands, found.made, strict=True))[1:4:2]:
        words = shlex.split(command)
        run = samplesmith(*words[1:])
        assert run.returncode == 0, run.stderr
        for k, file in enumerate(made.files):
            again = tmp_path / "outputs" / made.way.title.lower() / f"seed_{3 + k}.png"
            assert again.read_bytes() == file.read_bytes()
    program = asked.python().replace("samplesmith.load('emoji-sd3')", "given")
    exec(compile(program, "program", "exec"), {"given": studio.models.pipeline("emoji-sd3")})
    for made in found.made:
        for k, file in enumerate(made.files):
            again = np.asarray(Image.open(tmp_path / f"{made.way.title.lower()}_{k}.png")).astype(int)
            assert np.abs(again - np.asarray(Image.open(file)).astype(int)).max() <= 1


def test_a_way_that_does_not_fit_says_why_beside_the_others(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "weak_model", lambda model: str(tmp_path / "nothing"))
    _, found = made_in(studio, replace(ASKED, images=1, steps=2), tmp_path / "a")
    refused = {one.way.title: one.refused for one in found.made if one.refused}
    assert list(refused) == ["Fast", "Slow"]
    assert "cannot be loaded" in refused["Fast"]
    shown = ways(found.made, ASKED)
    assert shown.count("cannot be loaded") == 2
    assert "NFEs for each" in shown
    assert "need a weak model" not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance_scale": 1}, "the guidance scale is 1, which guides nothing"),
        ({"model": "fashion-ddpm", "prompt": "Bag", "guidance_scale": ""}, "fashion-ddpm does not guide by default"),
        ({"steps": "few"}, "the number of steps is 'few'"),
        ({"stop": 1.5}, "the interval is 1.5"),
        ({"scale": float("nan")}, "the slow scale is nan"),
        ({"images": 9}, "the number of images is 9"),
        ({"prompt": "a unicorn on blue"}, "unknown word 'unicorn'"),
        ({"model": "some"}, "no model 'some' on this page"),
    ],
)
def test_what_may_not_be_asked(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(ASKED, **changes).check(Models(), Limits())
    assert message in str(error.value)
