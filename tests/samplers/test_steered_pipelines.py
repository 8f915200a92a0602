"""A strategy in the loop of each kind of unmodified pipeline: the nodes and the image of the state machine by hand."""

import inspect

import pytest
import toys
from diffusers import FirstBlockCacheConfig
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.samplers.stochastic import stochastic
from steered_runs import CALLS, SCRIPT, Setup, by_hand, in_its_own_loop, levels, scripted

ROWS = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "ChromaPipeline",
    "QwenImagePipeline",
)


def setup_of(row):
    pipe, (_, _, arguments) = toys.build(row), toys.TOYS[row]
    arguments = {key: value for key, value in arguments.items() if key != "num_inference_steps"}
    return Setup(pipe, stochastic(pipe.scheduler), arguments)


@pytest.mark.parametrize("row", ROWS)
def test_the_image_of_the_state_machine(row):
    """Guided as the pipeline is by default; its callbacks see each model call; offloaded it does the same."""
    setup, seen = setup_of(row), []

    def count(pipe, step, time, tensors):
        seen.append(step)
        return tensors

    ids, image = by_hand(setup, "rbf:warm_up=3")
    assert "callback_on_step_end" in inspect.signature(type(setup.pipe).__call__).parameters
    (own,) = in_its_own_loop(setup, "rbf:warm_up=3", scripted(SCRIPT), callback_on_step_end=count)
    (visited,) = setup.pipe.scheduler.visited
    assert [one.node.id for one in visited] == ids
    assert levels(own, image) <= 1
    assert seen == list(range(CALLS))
    again = setup_of(row)
    again.pipe.enable_model_cpu_offload(device="cpu")
    (offloaded,) = in_its_own_loop(again, "rbf:warm_up=3", scripted(SCRIPT))
    assert levels(offloaded, image) <= 1


def test_caches_are_refused():
    """First-block caching compares a call with the one before it, which is another node's here."""
    setup = setup_of("FluxPipeline")
    setup.pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.2))
    with pytest.raises(ValueError, match="caches what a network said in the call before"):
        in_its_own_loop(setup, "svdd", scripted(SCRIPT))
    setup.pipe.scheduler = setup.scheduler
    with pytest.raises(ValueError, match="caches what a network said in the call before"):
        NoiseSearch(setup.pipe, Brightness(), "svdd")
    setup.pipe.transformer.disable_cache()
    NoiseSearch(setup.pipe, Brightness(), "svdd")
