"""Noise search on time-shift sampling: a candidate is the same whatever its batch mates are."""

import numpy as np
import pytest
import torch
import toys
from fakes import Brightness, watch
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.ledger import denoisers
from samplesmith.samplers import TimeShiftScheduler, apply_per_sample_time
from samplesmith.samplers.hooks import RowTimes

# The data variances lay the samples of these untrained models inside of their windows.
SETTINGS = {
    "StableDiffusion": {"solver": "ddim"},
    "StableDiffusionXL": {"solver": "dpmsolver++", "data_variance": 0.9},
    "StableDiffusion3": {"data_variance": 8.0},
}


def shifted(name, **settings):
    pipe = toys.build(name)
    settings = {"window": 400, "cutoff": 50, **SETTINGS[name], **settings}
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, **settings)
    return pipe


def search(pipe, name, batch_size, **changes):
    _, prompt, arguments = toys.TOYS[name]
    arguments = {**arguments, "num_inference_steps": 4, **changes}
    return NoiseSearch(pipe, Brightness())(prompt, num_candidates=4, batch_size=batch_size, progress=False, **arguments)


def scores(result):
    return [record["score"] for record in result.records]


def times_seen(pipe, name, batch_size):
    """The search, and each candidate's times as the denoiser got them, (candidates, calls)."""
    calls = []

    def note(args, kwargs):
        times = torch.as_tensor(kwargs["timestep"] if "timestep" in kwargs else args[1]).float()
        rows = len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])
        calls.append(times.expand(rows)[-batch_size:])

    handle = watch(denoisers(pipe)[0], note)
    result = search(pipe, name, batch_size)
    handle.remove()
    return result, torch.stack(calls).unflatten(0, (-1, 4)).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("name", SETTINGS)
def test_candidates_do_not_depend_on_their_batch_mates(name):
    pipe = shifted(name)
    (one, alone), (four, together) = (times_seen(pipe, name, size) for size in (1, 4))
    assert scores(four) == pytest.approx(scores(one), abs=1e-4)
    assert (together - alone).abs().max() <= 1, "two times may fit a row equally well, to rounding"
    assert len(together.unique(dim=0)) > 1, "each has times of its own"
    assert not pipe.scheduler.per_sample, "undone at the end"
    assert not any("forward" in vars(model) for model in denoisers(pipe))
    # A plain call of one row is the candidate again: alone, a row shares its time with nobody.
    again = np.asarray(pipe(**four.best[0].pipeline_kwargs()).images[0]).astype(int)
    assert np.abs(again - np.asarray(four.images[0])).max() <= 1


def test_a_hook_that_the_user_set_stays():
    pipe = shifted("StableDiffusion")
    hook = apply_per_sample_time(pipe.unet, pipe.scheduler)
    search(pipe, "StableDiffusion", 2)
    assert pipe.scheduler.per_sample
    assert [type(hook) for hook in pipe.unet._diffusers_hook.hooks.values()] == [RowTimes]
    hook.remove()


def test_the_reference_variant_is_searched_a_candidate_at_a_time():
    pipe = shifted("StableDiffusion", variant="reference")
    with pytest.raises(ValueError, match="shifts a batch as one"):
        search(pipe, "StableDiffusion", 2)
    assert len(scores(search(pipe, "StableDiffusion", 1))) == 4
