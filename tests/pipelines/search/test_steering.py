"""Strategies that choose from step to step, through unmodified pipelines: nodes, costs, scores, records."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import toys
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler
from fakes import Brightness
from rich.progress import Progress
from samplesmith.pipelines import NoiseSearch, steer
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.paused_rows import PausedRows
from samplesmith.pipelines.search.calibration import Calibration, Preview, StepCount
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.noise import step_seed
from samplesmith.samplers.strategies import STRATEGIES, Need, Node
from samplesmith.samplers.strategies.stepwise import Stepwise

STEPS, BUDGET = 4, 2 * 15
SETUPS = {
    "SD3, SDE": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, diffusion="square", norm=3.0), {}),
    "SD, DDIM": ("StableDiffusion", DDIMScheduler(), {"eta": 1.0}),
    "SD, Euler a": ("StableDiffusion", EulerAncestralDiscreteScheduler(), {}),
    "FLUX, SDE": ("Flux", FlowSDEScheduler(use_dynamic_shifting=True, diffusion="linear"), {"true_cfg_scale": 1.0}),
}
SETTINGS = {
    "svdd": "svdd:temperature=0.01",
    "code": "code:block=2",
    "smc": "smc:tilt=100,ess=0.9",
    "rbf": "rbf:warm_up=3",
    "threshold": "threshold:seen=1",
    "sop": "sop:back=1,on=2",
    "tree": "tree:branches=3",
}
"""Names as the command line takes them."""


@pytest.fixture(scope="module")
def pipes():
    return {name: toys.build(name) for name in ("StableDiffusion3", "StableDiffusion", "Flux")}


def search(pipes, strategy, setup="SD3, SDE", verifier=None, **arguments):
    name, scheduler, more = SETUPS[setup]
    pipe = pipes[name]
    pipe.scheduler = scheduler
    made = NoiseSearch(
        pipe, verifier or Brightness(), strategy, arguments.pop("judge", None), arguments.pop("known", None)
    )
    call = {"seed": 3, "num_inference_steps": STEPS, "budget": BUDGET, "progress": False, "batch_size": 3, **arguments}
    with count_nfe(pipe) as counted:
        result = made(call.pop("prompt", "a cat"), **{**toys.TOYS[name][2], **more, **call})
    assert pipe.scheduler is scheduler
    return result, counted.nfe


def test_every_one_of_them_is_tried():
    assert SETTINGS.keys() == {name for name, kind in STRATEGIES.items() if issubclass(kind, Stepwise)}


@pytest.mark.parametrize("strategy", SETTINGS)
def test_any_strategy_on_an_unmodified_pipeline(pipes, strategy):
    """It spends its budget, by counted calls and none twice; the best finished image is made again from its record."""
    result, nfe = search(pipes, SETTINGS[strategy], judge=Brightness("judge"))
    records = result.records
    assert result.ledger.nfe == nfe == sum(record["nfe"] for record in records)
    assert result.ledger.nfe_lost == 0
    assert BUDGET - max(record["nfe"] for record in records if record["status"] == "finished") < nfe <= BUDGET
    assert len({record["id"] for record in records}) == len(records)
    assert ["judge" in record["scores"] for record in records] == [record["status"] == "finished" for record in records]
    best = result.best[0]
    assert best.finished
    assert best.score == max(record["score"] for record in records if record["status"] == "finished")
    again = np.asarray(best.reproduce(pipes["StableDiffusion3"])).astype(int)
    assert np.abs(again - np.asarray(best.image)).max() <= 1
    if Need.STOCHASTIC_STEPS in STRATEGIES[strategy].needs:
        legs = [json.dumps(record["legs"][:-1]) for record in records]
        same = [
            {r["score"] for r, one in zip(records, legs, strict=True) if one == each} for each in set(legs) - {"[]"}
        ]
        assert max(map(len, same)) > 1, "siblings differ by the noise of one step, and the score sees it"


@pytest.mark.parametrize("setup", [name for name in SETUPS if name != "SD3, SDE"])
@pytest.mark.parametrize("strategy", ["rbf", "smc"])
def test_other_pipelines_and_schedulers(pipes, strategy, setup):
    result, nfe = search(pipes, SETTINGS[strategy], setup, budget=24)
    assert result.ledger.nfe == nfe == 24
    children = [record["score"] for record in result.records if len(record["legs"]) == 2]
    assert len(set(children)) == len(children)
    best = result.best[0]
    again = np.asarray(best.reproduce(pipes[SETUPS[setup][0]])).astype(int)
    assert np.abs(again - np.asarray(best.image)).max() <= 1


def test_a_path_is_the_pipelines_own_run_with_the_noises_of_its_keys(pipes):
    """The image of the state machine, driven by hand: call c draws by the key of the leg that begins behind it."""
    result, _ = search(pipes, "rbf:warm_up=3")
    node, pipe = result.best[0].record.node, pipes["StableDiffusion3"]
    assert [(leg.start, leg.stop) for leg in node.legs] == list(pairwise([0, 1, 2, 3, None]))
    keys = [leg.moves[0].key for leg in node.legs[1:]]
    calls = []

    def step(original, *args, **kwargs):
        sample = kwargs.get("sample", args[2])
        call = len(calls)
        calls.append(call)
        key = keys[min(call, len(keys) - 1)]
        generator = torch.Generator().manual_seed(step_seed(node.seed, key, call + 1))
        return original(*args, **kwargs, noise=torch.randn(sample.shape, generator=generator))

    call = {**toys.TOYS["StableDiffusion3"][2], "num_inference_steps": STEPS}
    with shadowed(pipe.scheduler, "step", step):
        image = pipe("a cat", generator=torch.Generator().manual_seed(node.seed), **call).images[0]
    assert np.abs(np.asarray(image).astype(int) - np.asarray(result.best[0].image)).max() <= 1


@pytest.mark.parametrize("strategy", SETTINGS)
def test_batches_of_another_size_evaluate_the_same_nodes(pipes, strategy):
    """As far as scores that differ by 1e-4 choose alike, which they do here."""
    three, one = (search(pipes, SETTINGS[strategy], batch_size=size)[0].records for size in (3, 1))
    assert [record["id"] for record in three] == [record["id"] for record in one]
    assert [r["score"] for r in three] == pytest.approx([r["score"] for r in one], abs=1e-4)


@pytest.mark.parametrize("setup", ["SD3, SDE", "SD, DDIM"])
@pytest.mark.parametrize("strategy", SETTINGS)
def test_it_goes_on_from_its_records(pipes, tmp_path, strategy, setup):
    """After a crash at three places, in either of two prompts, with a torn last line: byte for byte."""
    arguments = {"prompt": ["a cat", "a dog"], "budget": 2 * 8}
    whole, nfe = search(pipes, SETTINGS[strategy], setup, output_dir=tmp_path / "whole", **arguments)
    file = tmp_path / "whole/records.jsonl"
    written, lines = file.read_bytes(), file.read_bytes().splitlines(keepends=True)
    for kept in (1, len(lines) // 2, len(lines) - 1):
        file.write_bytes(b"".join(lines[:kept]) + b'{"torn')
        again, more = search(pipes, SETTINGS[strategy], setup, output_dir=tmp_path / "whole", **arguments)
        assert file.read_bytes() == written
        assert again.ledger.nfe == whole.ledger.nfe
        assert again.ledger.nfe_lost <= more < nfe + again.ledger.nfe_lost


def test_calibrations_say_where_scores_begin_to_tell_and_what_a_step_gains(pipes):
    previews = tuple(
        Preview(STEPS, step, value, 0.5, None, quantiles)
        for step, value, quantiles in (
            (1, 0.2, (0.0, 0.1)),
            (2, 0.9, (0.2, 0.3)),
            (3, 0.95, (9.0, 9.1)),
            (4, 1.0, (9.0, 9.1)),
        )
    )
    known = Calibration(
        "StableDiffusion3Pipeline", "FlowSDEScheduler", 7.0, "brightness", None, 4, (StepCount(4, 8, (0.5,)),), previews
    )
    result, _ = search(pipes, "rbf:warm_up=2,quota=2,accept=calibrated", known=known)
    assert [len(r["legs"]) for r in result.records] == [1] * 2 + [2] * 2 + [3] * 9, "nobody gains 8.8 at the third step"
    assert [r["nfe"] for r in result.records[:3]] == [4, 4, 2]
    with pytest.raises(ValueError, match="which a calibration with quantiles knows"):
        search(pipes, "rbf:accept=calibrated")


@pytest.mark.parametrize("strategy", ["svdd:children=3", "rbf:warm_up=3,quota=2", "smc:particles=3"])
def test_what_is_gone_on_from_no_more_is_forgotten(pipes, strategy, monkeypatch):
    """Latents of a level and of those before it that it goes on from, not of the whole search."""
    standing, keep = [], PausedRows.keep

    def watched(rows, needed):
        keep(rows, needed)
        standing.append(len(rows._standing))

    monkeypatch.setattr(PausedRows, "keep", watched)
    result, _ = search(pipes, strategy, num_inference_steps=8, budget=60)
    assert max(standing) <= 2 * 3
    assert result.ledger.nfe_lost == 0


def test_a_first_scored_node_and_its_child_cost_one_run(pipes):
    """The model call at a candidate is not made again for its children."""
    result, _ = search(pipes, "svdd:children=1", budget=2 * STEPS)
    assert [record["nfe"] for record in result.records] == [2] * STEPS
    assert [record["steps_done"] for record in result.records] == [1, 2, 3, 4]
    plain, _ = search(pipes, "random", budget=2 * STEPS)
    assert plain.ledger.nfe == result.ledger.nfe
    first = result.evaluated[0]
    assert first.record.node == Node.draw(3, stop=1)


def test_steer_gives_every_node_of_a_path_again(pipes, monkeypatch):
    """By its own name, with the step in the bar; each picture that was scored is made again from its record."""
    shown = []
    monkeypatch.setattr(Progress, "update", lambda bar, task, **fields: shown.append(fields["best"]))
    pipe = pipes["StableDiffusion3"]
    pipe.scheduler = SETUPS["SD3, SDE"][1]
    call = {**toys.TOYS["StableDiffusion3"][2], "num_inference_steps": STEPS}
    result = steer(pipe, Brightness())("a cat", budget=BUDGET, seed=3, progress=False, **call)
    assert shown[0].startswith(f"step 1 of {STEPS}, best ")
    assert shown[-1] == f"step {STEPS} of {STEPS}, best {result.best[0].score:.3f}"
    path = result.path(result.best[0].record.index)
    assert [one.record.steps_done for one in path] == list(range(1, STEPS + 1))
    assert path[-1].record == result.best[0].record
    for candidate in path:
        again = np.asarray(candidate.scored_again(pipe)).astype(int)
        assert np.abs(again - np.asarray(candidate.image)).max() <= 1
    with pytest.raises(ValueError, match="prompt 0 has no node 99"):
        result.path(99)
    with pytest.raises(ValueError, match="random makes whole runs"):
        steer(pipe, Brightness(), "random")
