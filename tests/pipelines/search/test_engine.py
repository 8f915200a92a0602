"""A scripted strategy that does what SMC and search over paths will: several children of one parent, and steps back."""

import numpy as np
import pytest
import toys
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.search.engine import _way
from samplesmith.samplers import DiffusionSDEScheduler, FlowSDEScheduler
from samplesmith.samplers.strategies import Need, Node, Noise, Renoise, Strategy

STEPS = 6


class Scripted(Strategy):
    """Two draws to step 3, two children of the better and one of the other to 5, back to step 2, then to the end."""

    name = "scripted"
    needs = frozenset({Need.PAUSES, Need.RUNNING_SCORES})

    def __init__(self, moves=Noise):
        self.moves = moves

    def rounds(self):
        yield [Node.draw(self.seed + k, stop=3) for k in range(2)]
        better, other = (pair[0] for pair in sorted(self.observed[:2], key=lambda pair: -pair[1]))
        yield [better.child(Noise(1), stop=5), better.child(Noise(2), stop=5), other.child(stop=5)]
        parents = [node for node, _ in self.observed[2:5]]
        yield [node.child(Renoise(2, key=k), stop=5) for k, node in enumerate([parents[0], parents[0], parents[2]])]
        yield [node.child() for node, _ in self.observed[5:8]]

    def propose(self, count):
        left = len(self.observed)
        for nodes in self.rounds():
            if left < len(nodes):
                return nodes[left:][:count]
            left -= len(nodes)
        return []

    @property
    def done(self):
        return len(self.observed) == 11


SETUPS = {
    "SD3, SDE": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, diffusion="square")),
    "SD3, GLASS": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, integrator="glass:inner_steps=2,rho=0.4")),
    "SD, GLASS": ("StableDiffusion", DiffusionSDEScheduler(integrator="glass:inner_steps=2")),
    "SD3": ("StableDiffusion3", FlowMatchEulerDiscreteScheduler(shift=3.0)),
    "SD, DDIM": ("StableDiffusion", DDIMScheduler()),
    "SD, DPM++": ("StableDiffusion", DPMSolverMultistepScheduler()),
    "FLUX": ("Flux", FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)),
}


NOISY = {"SD3, SDE", "SD3, GLASS", "SD, GLASS"}


class Mixed(Scripted):
    """Nodes of the same steps, of which some begin, some go on and some go back."""

    def rounds(self):
        yield [Node.draw(self.seed + k, stop=3) for k in range(2)]
        first, second = (node for node, _ in self.observed[:2])
        yield [first.child(Renoise(0, key=1), stop=3), Node.draw(self.seed + 2, stop=3), first.child(stop=5)]
        yield [second.child(), self.observed[4][0].child(Renoise(3, key=2)), second.child(Noise(1))]

    @property
    def done(self):
        return len(self.observed) == 8


def search(setup, strategy=None, **arguments):
    name, scheduler = SETUPS[setup]
    pipe = toys.build(name)
    pipe.scheduler = scheduler
    made = NoiseSearch(pipe, Brightness(), strategy or Scripted())
    call = {**toys.TOYS[name][2], "num_inference_steps": STEPS, "num_candidates": 2, "progress": False, **arguments}
    with count_nfe(pipe) as counted:
        result = made("a cat", **call)
    return pipe, result, counted.nfe


@pytest.mark.parametrize("setup", SETUPS)
def test_children_and_steps_back_in_any_batches(setup):
    pipe, result, nfe = search(setup, batch_size=8)
    per_step = result.records[0]["nfe"] // 3
    assert [record["nfe"] // per_step for record in result.records] == [3, 3, 2, 2, 2, 3, 3, 3, 1, 1, 1]
    assert result.ledger.nfe == nfe
    assert result.ledger.nfe_lost == 0
    _, alone, _ = search(setup, batch_size=1)
    assert [record["id"] for record in alone.records] == [record["id"] for record in result.records]
    assert [r["score"] for r in alone.records] == pytest.approx([r["score"] for r in result.records], abs=1e-4)

    scores = [record["score"] for record in result.records]
    assert (scores[2] == scores[3]) == (setup not in NOISY), "another noise matters where steps draw some"
    assert scores[5] != scores[6], "two ways back are two"
    best = result.best[0]
    again = np.asarray(best.reproduce(pipe)).astype(int)
    assert np.abs(again - np.asarray(best.image)).max() <= 1
    with pytest.raises(ValueError, match="make the image again with reproduce"):
        best.pipeline_kwargs(pipe)


def test_nodes_that_go_back_from_different_steps_do_not_share_a_batch():
    ways = [_way(Node.draw(0, stop=stop).child(Renoise(1, key=1), stop=6)) for stop in (3, 3, 4)]
    assert ways[0] == ways[1] != ways[2]


@pytest.mark.parametrize("setup", ["SD3, SDE", "SD, DPM++"])
def test_nodes_that_begin_go_on_and_go_back_do_not_share_a_batch(setup):
    results = [search(setup, Mixed(), batch_size=size)[1] for size in (8, 1)]
    together, alone = (result.records for result in results)
    assert [record["batch"] for record in together] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert [record["id"] for record in together] == [record["id"] for record in alone]
    assert [record["nfe"] for record in together] == [record["nfe"] for record in alone]
    assert [r["score"] for r in together] == pytest.approx([r["score"] for r in alone], abs=1e-4)


@pytest.mark.parametrize("setup", ["SD3, SDE", "SD, DPM++"])
@pytest.mark.parametrize("batches", range(1, 8))
def test_it_goes_on_from_every_prefix(tmp_path, setup, batches):
    """Byte for byte; what it goes on from is made again and counted apart."""
    _, whole, nfe = search(setup, batch_size=2, output_dir=tmp_path / "whole")
    stops = iter([True] * (batches - 1) + [False])
    search(setup, batch_size=2, output_dir=tmp_path / "cut", on_batch=lambda report: next(stops))
    _, again, more = search(setup, batch_size=2, output_dir=tmp_path / "cut")
    files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert again.ledger.nfe == whole.ledger.nfe == nfe
    done = sum(record["nfe"] for record in whole.records[: [2, 4, 5, 7, 8, 10, 11][batches - 1]])
    assert again.ledger.nfe_lost == more - (nfe - done)


def test_the_result_so_far(tmp_path):
    seen = []
    search("SD, DDIM", batch_size=2, on_batch=lambda report: seen.append(report.result()))
    assert [len(result.records) for result in seen] == [2, 4, 5, 7, 8, 10, 11]
    assert [result.best[0].finished for result in seen] == [False] * 5 + [True] * 2
    assert [len(result.candidates[0]) for result in seen] == [2, 2, 3, 5, 6, 2, 3]


class Endless(Strategy):
    """Looks at draws after two steps and finishes each, for as long as it is paid."""

    name = "endless"
    needs = frozenset({Need.PAUSES})

    def propose(self, count):
        made = [node for node, _ in self.observed]
        if made and not made[-1].finished:
            return [made[-1].child()]
        return [Node.draw(self.seed + len(made), stop=2)]


@pytest.mark.parametrize("budget", [6, 11, 12, 13, 40])
def test_a_strategy_that_plans_nothing_stops_within_its_budget(budget):
    """Two steps, then four, of one model call each without guidance."""
    pipe = toys.build("StableDiffusion3")
    call = {**toys.SMALL, "num_inference_steps": STEPS, "guidance_scale": 1.0, "progress": False}
    with count_nfe(pipe) as counted:
        result = NoiseSearch(pipe, Brightness(), Endless())("a cat", budget=budget, **call)
    expected = [2, 4] * (budget // 6) + [2] * (budget % 6 >= 2)
    assert [record["nfe"] for record in result.records] == expected
    assert counted.nfe == result.ledger.nfe == sum(expected) <= budget
