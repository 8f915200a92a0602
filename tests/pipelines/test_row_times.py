"""Noise search on time-shift sampling: a candidate is the same whatever its batch mates are."""

import numpy as np
import pytest
import torch
import toys
from diffusers import DDIMScheduler
from fakes import Brightness, watch
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.candidate_rows import by_rows
from samplesmith.pipelines.counting import denoisers
from samplesmith.pipelines.outputs import makes_clips
from samplesmith.pipelines.row_times import own_times
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import TimeShiftScheduler, apply_per_sample_time
from samplesmith.samplers.hooks import RowTimes, attach
from samplesmith.samplers.hooks.networks import argument_names, time_arguments

# The data variances lay the samples of these untrained models inside of their windows.
SETTINGS = {
    "StableDiffusion": {"solver": "ddim", "data_variance": 400.0},  # of the toy's latents, so that times within fit
    "StableDiffusionXL": {"solver": "dpmsolver++", "data_variance": 0.9},
    "StableDiffusion3": {"data_variance": 8.0},
    "ControlNet": {"solver": "ddim"},
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
    assert not any("forward" in vars(model) or model._forward_pre_hooks for model in denoisers(pipe))
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


UNITS = {
    "ChromaPipeline": lambda t: t / 1000,
    "AuraFlowPipeline": lambda t: t / 1000,
    "QwenImagePipeline": lambda t: t / 1000,
    "OvisImagePipeline": lambda t: t / 1000,
    "ZImagePipeline": lambda t: (1000 - t) / 1000,
    "Lumina2Pipeline": lambda t: 1 - t / 1000,
    "HiDreamImagePipeline": lambda t: t,
    "Flux2KleinPipeline": lambda t: t / 1000,
    "CogView4Pipeline": lambda t: t,
    "SanaPipeline": lambda t: t,
    "FluxControlNetPipeline": lambda t: t / 1000,
    "StableDiffusion3ControlNetPipeline": lambda t: t,
    "StableDiffusionXLControlNetPipeline": lambda t: t,
    "StableDiffusionXLPAGPipeline": lambda t: t,
    "HunyuanDiTControlNetPipeline": lambda t: t,
    "PixArtSigmaPipeline": lambda t: t,
    "WanPipeline": lambda t: t,
    "LTXPipeline": lambda t: t,
    "HunyuanVideoPipeline": lambda t: t,
    "AnimateDiffPipeline": lambda t: t,
}
"""What a pipeline makes of the scheduler's time for its networks; read in diffusers' source."""


class SpreadTimes:
    """Rows whose times lie around the scheduler's own by known shares."""

    shares = torch.tensor([0.97, 1.0, 0.93])
    begin_index = step_index = row_times = None

    def __init__(self, scheduler):
        self.scheduler = scheduler

    @property
    def timesteps(self):
        return self.scheduler.timesteps

    @property
    def num_inference_steps(self):
        return self.scheduler.num_inference_steps

    def __len__(self):
        return 1000

    def own(self, time):
        return (time * self.shares).to(self.timesteps.dtype)

    def step(self, original, *args, **kwargs):
        self.step_index = (self.step_index or 0) + 1
        if self.step_index < len(self.timesteps):
            self.row_times = self.own(self.timesteps[self.step_index])
        return original(*args, **kwargs)


def rows_of(call, prompt, rows):
    """A search makes clips one by one, as frames of a batch may be decoded as one; their networks take batches."""
    if not makes_clips(call.pipe):
        return call.row_arguments([prompt] * rows)
    return by_rows([{"prompt": prompt, **call.arguments}] * rows, call.parameters)


@pytest.mark.parametrize("name", UNITS)
def test_every_network_gets_the_times_of_its_rows_in_its_own_unit(name):
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    call = PipelineCall(pipe, {**arguments, "num_inference_steps": 3})
    source, seen = SpreadTimes(pipe.scheduler), {}
    for network in denoisers(pipe):
        watch(network, lambda args, kwargs, network=network: seen.setdefault(network, []).append((args, kwargs)))
        attach(network, RowTimes(source))
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    # Some encode the picture for their ControlNet with noise of the global generator.
    with torch.random.fork_rng(), torch.no_grad(), shadowed(pipe.scheduler, "step", source.step):
        pipe(**rows_of(call, prompt, 3), generator=generators, output_type="latent")
    times = pipe.scheduler.timesteps
    assert len(seen) == len(denoisers(pipe))
    for network, calls in seen.items():
        per_step = len(calls) // len(times)
        for k, (args, kwargs) in enumerate(calls):
            got = time_of(network, args, kwargs)
            step = k // per_step
            rows = source.own(times[step]) if step else times[0].expand(3)
            expected = UNITS[name](rows).float().repeat(max(1, len(got) // 3))[: len(got)]
            assert torch.allclose(got, expected, rtol=1e-6)


def time_of(network, args, kwargs):
    """The time that a network is called with, a vector."""
    call = {**dict(zip(argument_names(network), args, strict=False)), **kwargs}
    return torch.as_tensor(call[time_arguments(network)[0]]).float().flatten()


def test_a_pipeline_whose_own_scheduler_is_not_used():
    pipe = toys.build("KandinskyV22CombinedPipeline")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(DDIMScheduler())
    with pytest.raises(ValueError, match=r"set pipe.prior_pipe.* or pipe.decoder_pipe.scheduler"), own_times(pipe, 4):
        pass
