"""superpose on small pipelines of every kind: rows, guidance, counts, and the picture that one prompt alone makes."""

import json

import numpy as np
import pytest
import torch
import toys
from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler
from samplesmith.pipelines import superpose
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import SuperposedModel, SuperposedScheduler
from samplesmith.samplers.superposition import Prompt

PAIR = ["a cat on pink", "two dogs on blue"]
KINDS = ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "Flux"]


def toy(name):
    return toys.build(name), dict(toys.TOYS[name].arguments) | {"num_inference_steps": 3}


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    return toy(request.param)


@pytest.fixture(scope="module")
def flow():
    return toy("StableDiffusion3")


def array(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("negative", [{}, {"negative_prompt": "a dog"}])
@pytest.mark.parametrize("name", KINDS)
def test_one_prompt_is_the_pipelines_own_guided_picture(name, negative):
    """In one step, from noise to the clean prediction: the unconditional row is what the pipeline's guidance has."""
    pipe, arguments = toy(name)
    arguments |= {"num_inference_steps": 1, **negative}
    if name == "Flux" and negative:  # without a negative prompt it does not guide
        arguments["true_cfg_scale"] = 3.0
    own = pipe(PAIR[0], generator=torch.Generator().manual_seed(4), **arguments).images[0]
    alike = superpose(pipe, [PAIR[0]] * 2, "mean", seed=4, **arguments).images[0]
    assert np.abs(array(alike) - array(own)).max() <= 1


def test_rows_counts_and_what_is_left_behind(made):
    pipe, arguments = made
    before = pipe.scheduler
    result = superpose(pipe, PAIR, "or", num_images=2, seed=7, **arguments)
    rows = 3 if result.guidance_scale != 1 else 2
    assert (result.nfe, result.decodes) == (3 * rows * 2, 2)
    assert result.seeds == [7, 8]
    assert len(result.images) == 2
    assert result.images[0].size == (32, 32)
    assert result.kappa.shape == (3, 2, 2)
    assert torch.allclose(result.kappa.sum(2), torch.ones(3, 2), atol=1e-4)
    assert result.log_densities.isfinite().all()
    assert pipe.scheduler is before
    assert "encode_prompt" not in vars(pipe)
    again = superpose(pipe, PAIR, "or", num_images=2, seed=7, batch_size=1, **arguments)
    for one, other in zip(result.images, again.images, strict=True):
        assert np.abs(array(one) - array(other)).max() <= 2
    assert again.kappa.shape == (3, 2, 2)


def test_formulas_and_every_operator(flow):
    pipe, arguments = flow
    pictures = {}
    for operator in ("and", "and-paper", "or", "mean", [0.9, 0.1]):
        pictures[str(operator)] = array(superpose(pipe, PAIR, operator, **arguments).images[0])
    assert len({picture.tobytes() for picture in pictures.values()}) >= 4
    cat, dog = map(Prompt, PAIR)
    for formula in (cat & ~dog, str(cat & ~dog)):
        result = superpose(pipe, formula, guidance_scale=1.0, **arguments)
        assert result.operator == '"a cat on pink" & ~"two dogs on blue"'
        assert result.nfe == 9  # NOT needs the unconditional row, guidance or not
    assert superpose(pipe, cat | dog, guidance_scale=1.0, **arguments).nfe == 6


def test_or_of_one_prompt_is_that_prompt(flow):
    pipe, arguments = flow
    alone = superpose(pipe, [PAIR[0]], "or", **arguments).images[0]
    for operator in ("or", "mean", "and"):
        assert np.abs(array(superpose(pipe, [PAIR[0]] * 2, operator, **arguments).images[0]) - array(alone)).max() <= 1


def test_sdxls_unconditional_row_is_zeros():
    pipe = toys.build("StableDiffusionXL")
    seen = []
    handle = pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True, prepend=True
    )
    superpose(pipe, PAIR, **toys.TOYS["StableDiffusionXL"].arguments)
    states, pooled = seen[-1]["encoder_hidden_states"], seen[-1]["added_cond_kwargs"]["text_embeds"]
    assert len(states) == 3
    assert not states[0].any()
    assert not pooled[0].any()
    assert states[1:].flatten(1).any(1).all()
    superpose(pipe, PAIR, negative_prompt="a dog", **toys.TOYS["StableDiffusionXL"].arguments)
    assert seen[-1]["encoder_hidden_states"][0].any()
    handle.remove()


def test_positions_that_all_prompts_share_stay_as_they_are():
    """Chroma's encodings come with ids of positions, which have no rows."""
    pipe, arguments = toy("ChromaPipeline")
    result = superpose(pipe, PAIR, "or", num_images=2, **arguments)
    assert result.nfe == 3 * 3 * 2
    assert result.log_densities.isfinite().all()


@pytest.mark.parametrize("name", ["LDMTextToImagePipeline", "QwenImageInpaintPipeline"])
def test_latents_that_the_pipelines_own_end_cannot_take_are_decoded(name):
    pipe, arguments = toy(name)
    result = superpose(pipe, PAIR, "or", **arguments)
    assert result.nfe > 0
    assert result.decodes == 1
    assert array(result.images[0]).std() > 0


def test_latents_that_nobody_decodes_are_refused_before_the_first_model_call():
    pipe, arguments = toy("StableDiffusion")

    def broken(original, *args, **kwargs):
        raise RuntimeError("no such latents")

    with (
        count_nfe(pipe) as counts,
        shadowed(pipe.vae, "decode", broken),
        pytest.raises(ValueError, match=r"latents of StableDiffusionPipeline .* cannot be decoded \(no such latents\)"),
    ):
        superpose(pipe, PAIR, "or", **arguments)
    assert counts.nfe == 0


def test_two_models_are_superposed_like_two_prompts():
    pipe, other = toys.build("StableDiffusion"), toys.build("StableDiffusion")
    with torch.no_grad():
        for parameter in other.unet.parameters():
            parameter.mul_(0.9)
    arguments = dict(toys.TOYS["StableDiffusion"].arguments)
    alone = [array(superpose(one, [PAIR[0]] * 2, "mean", **arguments).images[0]) for one in (pipe, other)]
    models = [pipe.unet, other.unet]
    pipe.unet = SuperposedModel(models)
    result = superpose(pipe, [PAIR[0]] * 2, "or", guidance_scale=1.0, **arguments)
    assert result.nfe == 2 * 2  # two models, two steps
    assert not pipe.unet.unconditional
    assert superpose(pipe, [PAIR[0]] * 2, "or", guidance_scale=3.0, **arguments).nfe == 3 * 2
    pipe.unet = SuperposedModel(models[:1] * 2)
    assert np.abs(array(superpose(pipe, [PAIR[0]] * 2, "mean", **arguments).images[0]) - alone[0]).max() <= 1


def test_by_hand_on_an_unmodified_pipeline(flow):
    """The call that the scheduler's docstring shows."""
    pipe, arguments = flow
    before = pipe.scheduler
    pipe.scheduler = SuperposedScheduler.from_scheduler(before, operator="or", guidance_scale=7.0)
    try:
        rows = ["", *PAIR]
        generators = [torch.Generator().manual_seed(0) for _ in rows]
        images = pipe(rows, generator=generators, **arguments | {"guidance_scale": 1.0}).images
        assert (array(images[0]) == array(images[2])).all()
        with pytest.raises(ValueError, match="do not hold the same latent"):
            pipe(rows, generator=torch.Generator().manual_seed(0), **arguments | {"guidance_scale": 1.0})
    finally:
        pipe.scheduler = before


def test_particles_go_on_from_one_another(flow):
    pipe, arguments = flow
    result = superpose(
        pipe, Prompt(PAIR[0]) & Prompt(PAIR[1]), num_images=3, correct="fkc", window=(0.0, 1.0), **arguments
    )
    assert result.log_weights.shape == (3,)
    assert result.traces["effective_sizes"].shape == (3,)
    with pytest.raises(ValueError, match="all belong into one call"):
        superpose(pipe, PAIR, "or", num_images=3, correct="fkc", batch_size=1, **arguments)


def test_a_solver_of_two_calls_per_step_is_replaced_for_the_call():
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = PNDMScheduler(skip_prk_steps=True)
    assert superpose(pipe, PAIR, **toys.TOYS["StableDiffusion"].arguments).nfe == 6
    assert isinstance(pipe.scheduler, PNDMScheduler)


@pytest.mark.parametrize(
    ("prompts", "settings", "sentence"),
    [
        ([], {}, "0 prompts"),
        (PAIR, {"num_images": 0}, "num_images=0"),
        ("a cat", {}, "lacks a prompt in quotes"),
        ('"a" & "b"', {"operator": "or"}, "a formula has its own operators"),
        (PAIR, {"operator": "xor"}, "unknown operator 'xor'"),
        (PAIR, {"negative_prompt": ["a", "b"]}, "negative_prompt: give one text"),
        (PAIR, {"strength": 2}, "takes no strength"),
        (PAIR, {"estimator": "exact"}, "unknown estimator 'exact'"),
    ],
)
def test_bad_input_is_one_sentence(flow, prompts, settings, sentence):
    pipe, arguments = flow
    with pytest.raises(ValueError, match=sentence):
        superpose(pipe, prompts, **settings, **arguments)


def test_saved(flow, tmp_path):
    pipe, arguments = flow
    superpose(pipe, PAIR, num_images=2, **arguments).save(tmp_path)
    record = json.loads((tmp_path / "superposition.json").read_text())
    assert (tmp_path / "001.png").is_file()
    assert record["prompts"] == PAIR
    assert np.array(record["traces"]["weights"]).shape == (3, 2, 3)
    assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
