"""Latents become pictures as the pipeline itself makes them at its end, whatever their form is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toys
from diffusers import LCMScheduler
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.counting import count_costs
from samplesmith.pipelines.decoding import Decoder, decode, started_from
from samplesmith.pipelines.row import Row
from samplesmith.pipelines.shadow import shadowed
from samplesmith.pipelines.started_from import copy_generators

NAMES = (
    "StableDiffusionPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "Flux2Pipeline",
    "QwenImagePipeline",
    "ZImagePipeline",
    "Kandinsky3Pipeline",
    "SanaPipeline",
    "CogView4Pipeline",
    "HiDreamImagePipeline",
    "FluxKontextPipeline",
    "DiTPipeline",
    "LatentConsistencyModelPipeline",
    "LDMTextToImagePipeline",
    "QwenImageImg2ImgPipeline",
)


def finished(pipe, call, prompt, rows):
    """Pictures of a whole run, and the latents that its last step gave."""
    last = []

    def step(original, *args, **kwargs):
        out = original(*args, **kwargs)
        last.append(out if isinstance(out, tuple) else out.to_tuple())
        return out

    with shadowed(pipe.scheduler, "step", step), torch.no_grad():
        pixels, _ = call(Row.draws(prompt, range(rows)))
    # Pipelines of consistency models decode the denoised sample and not the next one.
    kept = last[-1][1] if isinstance(pipe.scheduler, LCMScheduler) else last[-1][0]
    return pixels, kept[:rows]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_pipelines_own_picture_at_no_nfe(name):
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    call = PipelineCall(pipe, arguments)
    expected, latents = finished(pipe, call, prompt, 2)
    scheduler, times = pipe.scheduler, pipe.scheduler.timesteps.clone()
    decoder = Decoder(call)
    decoder.check([prompt] * len(latents), latents)
    with count_costs(pipe) as ledger:
        pixels, usable = decoder([prompt] * len(latents), latents)
    assert (ledger.nfe, ledger.decodes) == (0, 2)
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert usable == [True, True]
    assert pipe.scheduler is scheduler
    assert torch.equal(scheduler.timesteps, times)
    assert "prepare_latents" not in vars(pipe)
    broken = latents.clone()
    broken[1] = torch.nan
    assert decoder([prompt] * len(broken), broken)[1] == [True, False]


def test_latents_of_another_form_are_one_sentence():
    pipe, (_, prompt, arguments) = toys.build("FluxPipeline"), toys.TOYS["FluxPipeline"]
    with pytest.raises(ValueError, match=r"latents of FluxPipeline in the midst of a run cannot be decoded \(.*random"):
        Decoder(PipelineCall(pipe, arguments)).check([prompt], torch.zeros(1, 3, 5, 7, 9))


def test_out_of_memory_is_none_of_the_forms():
    pipe, (_, prompt, arguments) = toys.build("StableDiffusionPipeline"), toys.TOYS["StableDiffusionPipeline"]

    def full(original, *args, **kwargs):
        raise torch.OutOfMemoryError("full")

    decoder, latents = Decoder(PipelineCall(pipe, arguments)), torch.zeros(1, 4, 16, 16)
    with shadowed(pipe.vae, "decode", full), pytest.raises(torch.OutOfMemoryError):
        decoder.check([prompt] * len(latents), latents)
    decoder.check([prompt] * len(latents), latents)
    assert decoder._ends, "what failed for memory is tried again"


def test_a_run_that_starts_from_given_latents_leaves_its_generators_alone():
    pipe = toys.build("FluxPipeline")
    own = pipe.prepare_latents
    given, seen = torch.randn(1, 64, 16, generator=torch.Generator().manual_seed(9)), []

    def step(original, model_output, timestep, sample, *args, **kwargs):
        seen.append(sample)
        return original(model_output, timestep, sample, *args, **kwargs)

    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    with started_from(pipe, given), shadowed(pipe.scheduler, "step", step), torch.no_grad():
        pipe(toys.PROMPT, generator=generator, output_type="latent", **toys.TOYS["FluxPipeline"].arguments)
    assert torch.equal(seen[0], given)
    assert torch.equal(generator.get_state(), before)
    assert pipe.prepare_latents == own


def test_copies_of_generators_draw_the_same():
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    torch.rand(3, generator=generators[1])
    copies = copy_generators(generators)
    assert [torch.rand(1, generator=g) for g in copies] == [torch.rand(1, generator=g) for g in generators]
    assert copy_generators(None) is None


@pytest.mark.parametrize("frame", [False, True])
def test_latents_have_their_mean_and_spread_back(frame):
    """z std / scale + mean by channel, of pictures and of clips of one frame; pixels are (x + 1) / 2."""
    config = {"latents_mean": [0.5, -0.5, 0.25], "latents_std": [2.0, 1.0, 0.5], "scaling_factor": 2.0}
    vae = SimpleNamespace(config=config, dtype=torch.float32, decode=lambda z, return_dict: (z,))
    pipe = SimpleNamespace(vae=vae, _execution_device="cpu")
    latents = torch.full((1, 3, 1, 2, 2) if frame else (1, 3, 2, 2), 0.25)
    known = torch.tensor([0.75, -0.375, 0.3125])[None, :, None, None].expand(1, 3, 2, 2)
    assert torch.allclose(decode(pipe, latents), (known + 1) / 2)
