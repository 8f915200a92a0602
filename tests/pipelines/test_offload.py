"""A search on an offloaded pipeline is that on the plain one: accelerate's hooks, with the CPU as their device."""

import numpy as np
import pytest
import toys
from diffusers import DDIMScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import count_costs, denoisers
from samplesmith.samplers import TimeShiftScheduler

SEARCHES = {
    "random": ("StableDiffusion3Pipeline", "random", False),
    "zero-order": ("StableDiffusion3Pipeline", "zero-order", False),
    "halving": ("FluxPipeline, true CFG", "halving:rungs=2,keep=0.5,threshold=0.5", False),
    "halving, ControlNet": ("StableDiffusionControlNetPipeline", "halving:rungs=2,keep=0.5,threshold=0.5", False),
    "time shift": ("StableDiffusionControlNetPipeline", "random", True),
}


def searched(name, strategy, shifts, offload=False):
    """The records, the pictures, and the costs as a ledger around all of it counts them."""
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    if shifts:
        pipe.scheduler = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=400, cutoff=50)
    if offload:
        pipe.enable_model_cpu_offload(device="cpu")
    finder = NoiseSearch(pipe, Brightness(), strategy)
    with count_costs(pipe) as costs:
        result = finder(
            prompt, num_candidates=4, batch_size=2, progress=False, **{**arguments, "num_inference_steps": 4}
        )
    for network in denoisers(pipe):
        assert not network._diffusers_hook.hooks
        assert not offload or hasattr(network, "_hf_hook"), "it is still offloaded"
    again = result.best[0].reproduce(pipe)
    return result, costs, np.asarray(again)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_result_and_the_counts_are_the_same(search):
    plain, costs, _ = searched(*SEARCHES[search])
    result, counted, again = searched(*SEARCHES[search], offload=True)
    assert result.records == plain.records
    assert (counted.nfe, counted.decodes) == (costs.nfe, costs.decodes)
    assert (result.ledger.nfe, result.ledger.verifier_calls) == (costs.nfe, plain.ledger.verifier_calls)
    assert (np.asarray(result.images[0]) == np.asarray(plain.images[0])).all()
    assert np.abs(again.astype(int) - np.asarray(plain.images[0])).max() <= 1
