"""Several candidates in one call: what is repeated, and by whom, in pipelines that repeat in their own ways."""

import numpy as np
import pytest
import torch
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.candidate_rows import by_number, by_rows
from samplesmith.pipelines.counting import denoisers
from samplesmith.pipelines.row import Row
from toys.parts import clip_processor, clip_vision

FORMS = {
    "StableDiffusionPipeline": by_number,
    "ZImagePipeline": by_number,  # its transformer takes lists
    "Flux2KleinPipeline": by_number,
    "StableDiffusionControlNetPipeline": by_number,
    "StableDiffusionPanoramaPipeline": None,  # pairs rows and texts of a batch in two orders
    "PRXPipeline": None,  # has one time for both halves of guidance, whatever the rows
    "AmusedPipeline": None,  # takes no list of generators
    "StableDiffusion3ControlNetPipeline": by_number,  # encodes doubled pictures without a generator
    "FluxFillPipeline": by_rows,
    "StableDiffusionInpaintPipeline": by_rows,
    "ConsistencyModelPipeline": by_rows,  # takes a batch_size beside the labels
    "DiTPipeline": by_rows,
    "WanPipeline": None,  # clips
    "CogVideoXPipeline": None,
}


def levels(image, other):
    return np.abs(np.asarray(image).astype(int) - np.asarray(other).astype(int)).max()


def scores_in_batches(pipe, prompt, arguments, sizes=(1, 4)):
    common = {"num_candidates": 4, "seed": 3, "progress": False, **arguments}
    results = [NoiseSearch(pipe, Brightness())(prompt, batch_size=size, **common) for size in sizes]
    return [[candidate.score for candidate in result.candidates[0]] for result in results], results[-1].best[0]


def checked(pipe, prompt, arguments):
    """Candidates are the same in any batch, differ from each other, and the plain pipeline makes the winner again."""
    (one, four), best = scores_in_batches(pipe, prompt, arguments)
    assert four == pytest.approx(one, abs=1e-4)
    assert len({round(score, 5) for score in four}) == 4
    assert levels(best.reproduce(pipe), best.image) <= 1
    return best


@pytest.mark.parametrize("name", FORMS)
def test_the_form_is_found_without_a_model_call(name):
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    for part in pipe.components.values():
        if hasattr(part, "register_forward_hook") and "encoder" not in type(part).__name__.lower():
            part.register_forward_hook(
                lambda module, *_: pytest.fail("a model ran") if hasattr(module, "time_embedding") else None
            )
    call = PipelineCall(pipe, arguments)
    assert call.makes_rows([prompt] * 2) is (FORMS[name] is not None)
    assert call._forms == {True: FORMS[name]}
    if FORMS[name] is None:
        with pytest.raises(ValueError, match=r"makes one candidate per call .* set batch_size=1"):
            call.row_arguments([prompt] * 2)


@pytest.mark.parametrize(
    "name",
    [
        "ZImagePipeline",
        "StableDiffusion3ControlNetPipeline",
        "ConsistencyModelPipeline",
        "StableDiffusionPanoramaPipeline",
        "PRXPipeline",
        "AmusedPipeline",
    ],
)
def test_candidates_do_not_depend_on_their_batch(name):
    _, prompt, arguments = toys.TOYS[name]
    pipe = toys.build(name)
    best = checked(pipe, prompt, arguments)
    if name == "StableDiffusion3ControlNetPipeline":
        with pytest.raises(ValueError, match=r"of a picture's encoding\); make the image again with reproduce"):
            best.pipeline_kwargs()
    else:
        assert levels(pipe(**best.pipeline_kwargs()).images[0], best.image) <= 1


@pytest.mark.parametrize("references", [1, 2])
def test_reference_pictures_belong_to_every_candidate(references):
    """A list of pictures is several references of one picture in FLUX.2, not one per row."""
    pipe = toys.build("Flux2KleinPipeline")
    _, prompt, arguments = toys.TOYS["Flux2KleinPipeline"]
    pictures = [toys.picture(k, 64) for k in range(references)]
    tokens = set()
    pipe.transformer.register_forward_hook(
        lambda module, args, kwargs, out: tokens.add(kwargs["hidden_states"].shape[1]), with_kwargs=True
    )
    with_them = {**arguments, "image": pictures if references > 1 else pictures[0]}
    best = checked(pipe, prompt, with_them)
    assert len(tokens) == 1
    assert levels(pipe(**best.pipeline_kwargs()).images[0], best.image) <= 1


@torch.random.fork_rng()
def with_ip_adapter():
    torch.manual_seed(0)
    pipe = toys.build("StableDiffusion")
    pipe.register_modules(image_encoder=clip_vision(), feature_extractor=clip_processor())
    widths, weights = pipe.unet.config.block_out_channels, {}
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(one for one in pipe.unet.attn_processors if "attn2" in one):
        block = 0 if name.startswith("mid") else int(name.split(".")[1])
        width = widths[-1] if name.startswith("mid") else (widths[::-1] if name.startswith("up") else widths)[block]
        for part in ("to_k_ip", "to_v_ip"):
            weights[f"{2 * number + 1}.{part}.weight"] = torch.randn(width, 32, generator=generator)
    projection = {
        "proj.weight": torch.randn(4 * 32, 32, generator=generator),
        "proj.bias": torch.zeros(4 * 32),
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
    }
    pipe.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": weights}])
    return pipe


def test_an_ip_adapters_picture_belongs_to_every_candidate():
    """Its list is one picture per adapter; the pipeline repeats it."""
    pipe, prompt = with_ip_adapter(), toys.PROMPT
    arguments = {**toys.SMALL, "ip_adapter_image": toys.picture()}
    best = checked(pipe, prompt, arguments)
    assert levels(pipe(**best.pipeline_kwargs()).images[0], best.image) <= 1
    listed = {**arguments, "ip_adapter_image": [arguments["ip_adapter_image"]]}
    assert checked(pipe, prompt, listed).score == pytest.approx(best.score, abs=1e-4)


class TestEmbeddings:
    """What `encode_prompt` gives is no picture, though it is a tensor of three dimensions."""

    @pytest.fixture(scope="class")
    def pipe(self):
        return toys.build("StableDiffusion")

    def encoded(self, pipe, text):
        return pipe.encode_prompt(text, "cpu", 1, False)[0]

    def test_negative_ones_beside_a_prompt(self, pipe):
        arguments = {**toys.SMALL, "negative_prompt_embeds": self.encoded(pipe, "a dog")}
        best = checked(pipe, toys.PROMPT, arguments)
        plain = checked(pipe, toys.PROMPT, {**toys.SMALL, "negative_prompt": "a dog"})
        assert levels(best.image, plain.image) <= 1

    @pytest.mark.parametrize("prompt", [toys.PROMPT, None])
    def test_in_place_of_the_prompt(self, pipe, prompt):
        """The prompt is then for verifiers and records alone."""
        seen = []

        class Told(Brightness):
            def score(self, images, prompts, previews=None):
                seen.extend(prompts)
                return super().score(images, prompts, previews)

        arguments = {**toys.SMALL, "prompt_embeds": self.encoded(pipe, "a dog"), "num_candidates": 2, "progress": False}
        best = NoiseSearch(pipe, Told())(prompt, batch_size=2, **arguments).best[0]
        assert set(seen) == {prompt or ""}
        plain = PipelineCall(pipe, toys.SMALL)(Row.draws("a dog", [best.seed]))[0][0]
        assert levels(best.image, plain) <= 1
        assert levels(best.reproduce(pipe), plain) <= 1
        assert levels(pipe(**best.pipeline_kwargs()).images[0], plain) <= 1

    def test_where_the_pipeline_takes_lists_alone(self):
        """Pooled ones too are repeated with their row; by which side, is found by trying."""
        pipe = toys.build("StableDiffusion3")
        _, prompt, arguments = toys.TOYS["StableDiffusion3"]
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        with torch.no_grad():
            encoded = pipe.encode_prompt(prompt, None, None, max_sequence_length=4)
        best = checked(pipe, prompt, {**arguments, **dict(zip(names, encoded, strict=True))})
        assert levels(PipelineCall(pipe, arguments)(Row.draws(prompt, [best.seed]))[0][0], best.image) <= 1


def test_one_candidate_is_called_as_the_plain_pipeline_is():
    call = PipelineCall(toys.build("ControlNet"), toys.TOYS["ControlNet"].arguments)
    assert call.row_arguments([toys.PROMPT]) == {"prompt": toys.PROMPT, **call.arguments}


@pytest.mark.parametrize("owned", ["num_images_per_prompt", "latents", "generator", "output_type"])
def test_what_the_search_sets_is_refused(owned):
    with pytest.raises(ValueError, match=f"{owned}: set by the search"):
        PipelineCall(toys.build("StableDiffusion"), {owned: 2})


@pytest.mark.parametrize(
    "name", ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "Flux", "PixArt", "DiT", "ControlNet"]
)
def test_rows_of_different_conditions_are_one_call(name):
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    conditions = [3, 1, 4] if isinstance(prompt, int) else ["a cat", "a dog and three boats left of a tree", "a star"]
    call, calls = PipelineCall(pipe, arguments), []
    handle = denoisers(pipe)[0].register_forward_hook(lambda *_: calls.append(1))
    alone = [call([Row(condition, seed)])[0][0] for seed, condition in enumerate(conditions)]
    each = len(calls)
    together, usable = call([Row(condition, seed) for seed, condition in enumerate(conditions)])
    handle.remove()
    assert usable == [True] * 3
    assert len(calls) - each == each // 3
    for one, other in zip(alone, together, strict=True):
        assert levels(one, other) <= 1


def test_rows_that_begin_with_latents():
    pipe = toys.build("StableDiffusion3")
    call, arguments = PipelineCall(pipe, toys.SMALL), {**toys.SMALL, "output_type": "latent"}
    shape = pipe("a dog", generator=torch.Generator().manual_seed(0), **arguments).images.shape[1:]
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    made, _ = call([Row("a cat", 0, latents=noise[0]), Row("a dog", 0, latents=noise[1])])
    plain = pipe("a dog", latents=noise[1:], output_type="np", **toys.SMALL).images[0]
    assert np.abs(made[1] / 255 - plain).max() < 0.01
    with pytest.raises(ValueError, match="1 of 2 rows have latents; give all of them latents, or none"):
        call([Row("a cat", 0, latents=noise[0]), Row("a dog", 0)])
