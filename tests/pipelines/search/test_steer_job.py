"""A steered search by names: its defaults steer any pipeline at once, and it says what it cannot."""

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from samplesmith import FlowSDEScheduler
from samplesmith.pipelines import NoiseSearch, SteerJob
from samplesmith.pipelines.search.record import Record
from samplesmith.samplers.by_name import set_up

JOB = SteerJob(prompts=("two cats on pink",), verifiers=("emoji-clip",), strategy="rbf:warm_up=2", budget=24, steps=3)


def test_its_defaults_are_those_of_the_paper_and_none_stands_for_them():
    job = SteerJob(("a star on blue",))
    assert (job.strategy, job.budget, job.candidates, job.steps, job.scheduler) == ("rbf", 500, None, 10, "stochastic")
    assert SteerJob(("a star on blue",), steps=None, scheduler=None) == job
    assert SteerJob(("a star on blue",), candidates=4).budget is None
    assert SteerJob.from_json(job.to_json()) == job


def test_it_runs_as_the_search_of_its_scheduler_and_every_node_comes_again_from_its_record(
    emoji_pipe, emoji_clip, tmp_path
):
    """From the records alone: the same job in the same folder evaluates nothing, and has all paths."""
    own = emoji_pipe.scheduler
    job = replace(JOB, output=str(tmp_path))
    loaded = {"emoji-clip": emoji_clip}
    result = job.run(emoji_pipe, load=loaded.get, progress=False)
    assert emoji_pipe.scheduler is own
    again = job.run(emoji_pipe, load=loaded.get, progress=False)
    assert again.ledger.nfe_lost == 0
    path = again.path(again.best[0].record.index)
    assert [one.record.steps_done for one in path] == [1, 2, 3]
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert lines == result.records == again.records
    recorded = [Record.from_json(line).node for line in lines]
    assert [node.parent for node in recorded if len(node.legs) == 3] == [path[1].record.node] * len(again.candidates[0])
    with set_up(emoji_pipe, job.scheduler):
        assert isinstance(emoji_pipe.scheduler, FlowSDEScheduler)
        for one in path:
            made = np.asarray(one.scored_again(emoji_pipe)).astype(int)
            assert np.abs(made - np.asarray(one.image)).max() <= 1
        search = NoiseSearch(emoji_pipe, emoji_clip, "rbf:warm_up=2")
        same = search("two cats on pink", progress=False, **JOB.search_arguments)
    assert [r["score"] for r in same.records] == [r["score"] for r in result.records]
    asked = json.loads((tmp_path / "run.json").read_text())["job"]
    assert SteerJob.from_dict(asked) == job


def test_the_program_finds_the_same_winner(emoji_pipe, emoji_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = replace(JOB, device="cpu").python()
    assert "from samplesmith.pipelines import steer\n" in program
    assert "NoiseSearch" not in program
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "job.py", "exec"), {})
    best = JOB.run(emoji_pipe, load={"emoji-clip": emoji_clip}.get, progress=False).best[0]
    seed, score = re.findall(r"seed (\d+), score ([-.\d]+)", said.getvalue())[0]
    assert (int(seed), float(score)) == (best.seed, pytest.approx(best.score, abs=1e-4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 2}, "budget is 2 NFEs, and a path of 3 steps makes as many model calls; give at least 3"),
        ({"strategy": "random"}, "random makes whole runs and steers none; use NoiseSearch, or a strategy such as rbf"),
        ({"strategy": "rbf:quota=0"}, "quota is 0; give at least 1"),
        ({"steps": "auto"}, "steps 'auto' are planned for whole runs"),
        ({"stop_at": 0.5}, "leave stop_at out"),
        ({"candidates": 3}, "give just one of budget"),
        ({"scheduler": "stochastic:norm=2"}, "stochastic has no setting 'norm'"),
        ({"preview": "small"}, "unknown preview 'small'; known: tiny, latent"),
        ({"preview": "latent:model=x"}, "latent has no setting 'model'; known: file"),
        ({"arguments": {"num_inference_steps": 4}}, "give it as steps"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(changes, message, monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.loading.load", lambda *_: pytest.fail("loaded for nothing"))
    monkeypatch.setattr("samplesmith.verifiers.load_verifier", lambda *_: pytest.fail("loaded for nothing"))
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(JOB, **changes).run()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "flow-euler"}, "rbf chooses among the noises of steps, and the scheduler of"),
        ({"verifiers": ("emoji-clip", "emoji-aesthetic")}, "needs a score for each candidate as it comes"),
        ({"budget": 5}, "below one candidate, which costs 6 here; give at least 6"),
    ],
)
def test_what_the_pipeline_cannot_serve_is_one_sentence(emoji_pipe, emoji_clip, changes, message):
    from samplesmith.verifiers import load_verifier

    def load(name):
        return emoji_clip if name == "emoji-clip" else load_verifier(name)

    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(JOB, **changes).run(emoji_pipe, load=load, progress=False)
    assert message in str(error.value)
