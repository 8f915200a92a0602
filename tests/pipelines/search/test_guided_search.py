"""Searches under a guidance hook: fewer NFEs, the hook's own pictures, and the same ones where runs are paused."""

import numpy as np
import pytest
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.row import Row
from samplesmith.samplers.by_name import set_up
from samplesmith.samplers.strategies import Halving

STEPS = 4
HOOKS = {"interval:stop=0.5": 6, "weak-to-strong:strong_until=0": 4, "zigzag": 17}
"""NFEs of a candidate; plain guidance takes 8."""


def searched(pipe, strategy="random", **arguments):
    search = NoiseSearch(pipe, Brightness(), strategy)
    return search("a cat on blue", num_candidates=4, batch_size=2, progress=False, **arguments)


@pytest.mark.parametrize("hook", HOOKS)
def test_candidates_are_the_guided_runs_of_their_seeds(hook):
    pipe = toys.build("StableDiffusion3")
    arguments = {**toys.TOYS["StableDiffusion3"].arguments, "num_inference_steps": STEPS, "guidance_scale": 3.0}
    with set_up(pipe, hooks=[hook]):
        result = searched(pipe, **arguments)
        expected, _ = PipelineCall(pipe, arguments)([Row("a cat on blue", k) for k in range(2)])
    assert result.ledger.nfe == 4 * HOOKS[hook]
    for candidate in result.candidates[0][:2]:
        assert np.array_equal(np.asarray(candidate.image), expected[candidate.seed])


def test_a_paused_candidate_goes_on_in_the_interval_of_the_whole_run():
    pipe = toys.build("StableDiffusion3")
    arguments = {**toys.TOYS["StableDiffusion3"].arguments, "num_inference_steps": STEPS, "guidance_scale": 3.0}
    with set_up(pipe, hooks=["interval:stop=0.5"]):
        halved = searched(pipe, Halving(rungs=[2], keep=0.5), **arguments)
        plain = searched(pipe, **arguments)
    finished = {one.seed: one for one in plain.candidates[0]}
    best = halved.best[0]
    difference = np.asarray(best.image).astype(int) - np.asarray(finished[best.seed].image)
    assert np.abs(difference).max() <= 1
    assert halved.ledger.nfe < plain.ledger.nfe
