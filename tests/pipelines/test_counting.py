"""NFEs are what the denoiser was called for, whatever the scheduler and the guidance make of the step count."""

import inspect

import pytest
import torch
import toys
from diffusers import EulerDiscreteScheduler, HeunDiscreteScheduler, KDPM2DiscreteScheduler, PNDMScheduler
from fakes import Brightness
from samplesmith.pipelines import ClassConditionalPipeline, NoiseSearch, counting
from samplesmith.pipelines.counting import count_costs, count_nfe, count_verifier_calls, denoisers
from samplesmith.pipelines.search.ledger import shares


def nfe(pipe, **arguments) -> int:
    with count_nfe(pipe) as ledger:
        pipe(toys.PROMPT, output_type="latent", generator=torch.Generator().manual_seed(0), **arguments)
    return ledger.nfe


@pytest.mark.parametrize(
    ("scheduler", "calls"),
    [
        (EulerDiscreteScheduler(), 10),
        (PNDMScheduler(skip_prk_steps=True), 11),
        (HeunDiscreteScheduler(), 19),
        (KDPM2DiscreteScheduler(), 19),
    ],
)
@pytest.mark.parametrize(("guidance_scale", "rows"), [(1.0, 1), (5.0, 2)])
def test_solvers(scheduler, calls, guidance_scale, rows):
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = scheduler
    size = {**toys.SMALL, "num_inference_steps": 10}
    assert nfe(pipe, guidance_scale=guidance_scale, num_images_per_prompt=3, **size) == 3 * rows * calls


def test_skip_layer_guidance_adds_calls():
    pipe = toys.build("StableDiffusion3")
    size = {**toys.SMALL, "num_inference_steps": 10, "max_sequence_length": 4, "guidance_scale": 5.0}
    plain = nfe(pipe, **size)
    assert plain == 20
    skipping = nfe(pipe, skip_guidance_layers=[1], skip_layer_guidance_start=0.0, skip_layer_guidance_stop=0.5, **size)
    assert plain < skipping < 30


def test_flux_guidance_is_no_cfg_but_true_cfg_is():
    pipe = toys.build("Flux")
    size = {**toys.SMALL, "max_sequence_length": 8}
    assert nfe(pipe, guidance_scale=3.5, **size) == 2
    assert nfe(pipe, true_cfg_scale=2.0, negative_prompt="a dog", **size) == 4


def test_a_pipeline_without_a_denoiser_is_one_sentence():
    with pytest.raises(ValueError, match="object has no network that takes a sample and a time"):
        denoisers(object())


EVERY = {
    "KandinskyCombinedPipeline": ("unet", "prior_prior"),
    "KandinskyV22CombinedPipeline": ("unet", "prior_prior"),
    "StableCascadeCombinedPipeline": ("prior_prior", "decoder"),
    "WuerstchenCombinedPipeline": ("prior_prior", "decoder"),
    "UnCLIPPipeline": ("prior", "decoder", "super_res_first", "super_res_last"),
    "StableUnCLIPPipeline": ("prior", "unet"),
    "WanPipeline, two experts": ("transformer", "transformer_2"),
    "ZImagePipeline": ("transformer",),
    "StableDiffusionXLControlNetPipeline": ("unet",),
}
"""All denoisers of a pipeline: priors, decoders that diffuse, experts; a ControlNet is none."""


@pytest.mark.parametrize("name", EVERY)
def test_every_denoiser_is_counted(name):
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    rows = dict.fromkeys(EVERY[name], 0)

    def count(key):
        def counted(module, args, output):
            if isinstance(output, dict):  # diffusers' output classes
                output = output.to_tuple()
            rows[key] += len(output if isinstance(output, torch.Tensor) else output[0])

        return counted

    for key in rows:
        getattr(pipe, key).register_forward_hook(count(key))
    several = (
        {"num_images_per_prompt": 2} if "num_images_per_prompt" in inspect.signature(pipe.__call__).parameters else {}
    )
    generator = [torch.Generator().manual_seed(k) for k in range(2 if several else 1)]
    with count_nfe(pipe) as ledger, torch.no_grad():
        pipe(prompt, generator=generator, **several, **arguments)
    assert ledger.nfe == sum(rows.values())
    assert all(rows.values()), rows


class TestDecodes:
    """Rows through an autoencoder's own decode."""

    def test_the_pipelines_own(self):
        pipe = toys.build("StableDiffusion")
        own = pipe.vae.decode
        for output_type, decodes in (("np", 3), ("latent", 0)):
            with count_costs(pipe) as ledger:
                pipe(toys.PROMPT, num_images_per_prompt=3, output_type=output_type, generator=seeded(), **toys.SMALL)
            assert (ledger.nfe, ledger.decodes) == (3 * 2 * 2, decodes)
        assert pipe.vae.decode == own

    def test_slices_and_those_of_a_pipeline_within(self):
        pipe, outer = toys.build("StableDiffusion"), toys.build("StableDiffusion3")
        outer.inner = pipe
        pipe.vae.enable_slicing()
        with count_costs(outer) as ledger:
            pipe(toys.PROMPT, num_images_per_prompt=3, output_type="np", generator=seeded(), **toys.SMALL)
        assert (ledger.nfe, ledger.decodes) == (12, 3)


def seeded():
    return torch.Generator().manual_seed(0)


def test_pictures_are_counted_where_they_are_scored():
    """A batch that fails is scored again, one by one."""
    pipe = toys.build("StableDiffusion")
    judge = Brightness("judge")
    result = NoiseSearch(pipe, Brightness(), judge=judge)(toys.PROMPT, num_candidates=3, progress=False, **toys.SMALL)
    assert (result.ledger.verifier_calls, result.ledger.decodes, result.ledger.nfe_lost) == (6, 3, 0)
    with count_verifier_calls([judge, judge]) as ledger:
        judge.evaluate(torch.zeros(2, 3, 8, 8), ["a", "b"])
    assert ledger.verifier_calls == 2
    lowest = min(record["score"] for record in result.records)
    with pytest.warns(UserWarning, match="too bright for me"):
        failing = NoiseSearch(pipe, Brightness(fail_above=lowest + 1e-6))(
            toys.PROMPT, num_candidates=3, progress=False, **toys.SMALL
        )
    assert failing.ledger.verifier_calls == 3 + 3
    assert sum(record["verifier_calls"] for record in failing.records) == 6


def test_pixels_are_not_decoded():
    from diffusers import DDIMScheduler, UNet2DModel

    with torch.random.fork_rng():
        unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8,),
            layers_per_block=1,
            norm_num_groups=4,
            num_class_embeds=4,
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        )
    pipe = ClassConditionalPipeline(DDIMScheduler(), unet=unet.eval(), null_class=3)
    pipe.set_progress_bar_config(disable=True)
    with count_costs(pipe) as ledger:
        pipe(class_labels=[0], num_inference_steps=2, guidance_scale=2.0, generator=seeded())
    assert (ledger.nfe, ledger.decodes) == (4, 0)


@pytest.mark.parametrize(("total", "count", "expected"), [(12, 4, [3] * 4), (10, 4, [3, 3, 2, 2]), (0, 2, [0, 0])])
def test_shares_of_a_batch_add_up(total, count, expected):
    assert shares(total, count) == expected


def test_a_search_looks_for_its_networks_once_however_long_it_is(monkeypatch):
    looked, find = [], counting.timed_networks

    def watched(owner):
        looked.append(owner)
        return find(owner)

    monkeypatch.setattr(counting, "timed_networks", watched)
    pipe = toys.build("StableDiffusion")
    found = []
    for candidates in (2, 5):
        looked.clear()
        arguments = {**toys.SMALL, "num_inference_steps": 4}
        NoiseSearch(pipe, Brightness(), "halving")("a cat", num_candidates=candidates, progress=False, **arguments)
        found.append(len(looked))
    assert found[0] == found[1]
    pipe.unet = other = toys.build("StableDiffusion").unet
    assert denoisers(pipe) == [other], "another network is found as ever, once the search is over"
