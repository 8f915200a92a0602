"""A denoiser that knows its classes exactly tells whether the loop around it is right, whatever the scheduler."""

import diffusers
import numpy as np
import pytest
import samplesmith
import torch
from diffusers import ConfigMixin, DDIMScheduler, DDPMScheduler, DiTTransformer2DModel, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from fakes import Brightness
from samplesmith import ClassConditionalPipeline, TimeShiftScheduler
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import count_nfe

MEANS, DEVIATIONS = (0.5, -0.4, 0.1), (0.6, 0.3, 0.6)
"""Of the pixels of classes 0 and 1, and of "no class"."""


class GaussianDenoiser(ModelMixin, ConfigMixin):
    """The exact prediction where the pixels of a class are independent N(mean, deviation^2)."""

    @register_to_config
    def __init__(self, predicts="epsilon", sample_size=8, in_channels=1, num_embeds_ada_norm=2, learned_variance=False):
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor([MEANS, DEVIATIONS]), requires_grad=False)
        self.sigmas = ((1 - (a := DDPMScheduler().alphas_cumprod)) / a).sqrt()

    def path(self, timestep):
        """alpha and sigma of a time, whole or between two."""
        if self.config.predicts == "flow":
            return 1 - timestep / 1000, timestep / 1000
        low = timestep.long().clamp(max=998)
        sigma = torch.lerp(self.sigmas[low], self.sigmas[low + 1], (timestep - low).float())
        alpha = 1 / (1 + sigma**2).sqrt()
        return alpha, alpha * sigma

    def forward(self, hidden_states, timestep, class_labels, return_dict=True):
        assert timestep.shape == class_labels.shape == hidden_states.shape[:1]
        alpha, sigma = (value.view(-1, 1, 1, 1) for value in self.path(timestep))
        mean, deviation = self.table[:, class_labels, None, None, None]
        noise = sigma * (hidden_states - alpha * mean) / ((alpha * deviation) ** 2 + sigma**2)
        x0 = mean + alpha * deviation**2 * (hidden_states - alpha * mean) / ((alpha * deviation) ** 2 + sigma**2)
        output = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "flow": noise - x0}
        output = output[self.config.predicts]
        return (torch.cat([output, output + 9], 1) if self.config.learned_variance else output,)


def exact(scheduler, **settings) -> ClassConditionalPipeline:
    pipe = ClassConditionalPipeline(
        scheduler, transformer=GaussianDenoiser(**settings), id2label={0: "bright", 1: "dark"}
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def network(kind: str, **settings) -> ClassConditionalPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "transformer":
            model = DiTTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=1,
                num_layers=1,
                sample_size=8,
                num_embeds_ada_norm=3,
            )
        else:
            model = UNet2DModel(
                sample_size=(8, 16),
                in_channels=3,
                out_channels=3,
                block_out_channels=(8, 8),
                layers_per_block=1,
                norm_num_groups=4,
                down_block_types=("DownBlock2D",) * 2,
                up_block_types=("UpBlock2D",) * 2,
                num_class_embeds=4,
            )
    pipe = ClassConditionalPipeline(scheduler=DDIMScheduler(clip_sample=False), **{kind: model.eval()}, **settings)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


SCHEDULERS = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False}, {}),
    "DDIM, eta 1": ("DDIMScheduler", {"clip_sample": False}, {"eta": 1.0, "num_inference_steps": 1000}),
    "DDIM, v": ("DDIMScheduler", {"clip_sample": False, "prediction_type": "v_prediction"}, {}),
    "PNDM": ("PNDMScheduler", {"skip_prk_steps": True}, {}),
    "PNDM with Runge-Kutta": ("PNDMScheduler", {}, {}),
    "DPM++": ("DPMSolverMultistepScheduler", {}, {}),
    "Euler": ("EulerDiscreteScheduler", {}, {}),
    "Euler, ancestral": ("EulerAncestralDiscreteScheduler", {}, {"num_inference_steps": 1000}),
    "Heun": ("HeunDiscreteScheduler", {}, {}),
    "DDPM": ("DDPMScheduler", {"clip_sample": False}, {"num_inference_steps": 1000}),
    "flow": ("FlowMatchEulerDiscreteScheduler", {}, {}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_gives_each_class_its_mean_and_deviation(name):
    """With 8,192 pixels a class, four standard errors are 0.027 of the mean and 3 % of the deviation."""
    cls, config, call = SCHEDULERS[name]
    config = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, **config} if name != "flow" else config
    predicts = "flow" if name == "flow" else config.get("prediction_type", "epsilon")
    pipe = exact(getattr(diffusers, cls)(**config), predicts=predicts)
    labels = [0] * 128 + [1] * 128
    call = {"num_inference_steps": 250, **call}
    sample = pipe(labels, generator=torch.Generator().manual_seed(0), output_type="latent", **call).images
    for label, rows in enumerate(sample.split(128)):
        assert rows.mean().item() == pytest.approx(MEANS[label], abs=0.03)
        assert rows.std().item() == pytest.approx(DEVIATIONS[label], rel=0.05)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"])
def test_guidance_goes_from_no_class_through_the_class_and_beyond(scheduler):
    """At equal deviations the guided prediction is that of mean 0.1 + 1.5 (0.5 - 0.1) = 0.7, exactly."""
    settings = {"clip_sample": False} if scheduler.startswith("DDIM") else {}
    pipe = exact(getattr(diffusers, scheduler)(**settings))
    call = {"num_inference_steps": 10, "output_type": "latent"}
    guided = pipe([0] * 4, guidance_scale=1.5, generator=torch.Generator().manual_seed(0), **call).images
    pipe.transformer.table[:, 0] = torch.tensor([0.7, 0.6])
    plain = pipe([0] * 4, generator=torch.Generator().manual_seed(0), **call).images
    assert torch.allclose(guided, plain, atol=1e-5)


def test_no_guidance_at_a_scale_of_one_or_less():
    pipe = exact(DDIMScheduler())
    call = {"class_labels": [1, 0], "num_inference_steps": 4, "output_type": "latent"}
    images = []
    for scale in (0.0, 1.0):
        with count_nfe(pipe) as ledger:
            images.append(pipe(**call, guidance_scale=scale, generator=generators(0, 1)).images)
        assert ledger.nfe == 8
    assert torch.equal(*images)
    with count_nfe(pipe) as ledger:
        pipe(**call, guidance_scale=1.1, generator=generators(0, 1))
    assert ledger.nfe == 16


@pytest.mark.parametrize("scheduler", [DDPMScheduler(), DDIMScheduler()])
@pytest.mark.parametrize("kind", ["transformer", "unet"])
def test_a_row_with_its_own_generator_does_not_depend_on_the_others(kind, scheduler):
    pipe = network(kind)
    pipe.scheduler = scheduler
    eta = {"eta": 1.0} if isinstance(scheduler, DDIMScheduler) else {}
    call = {"num_inference_steps": 5, "output_type": "pt", **eta}
    together = pipe([0, 1, 2], generator=generators(5, 6, 7), **call).images
    alone = pipe([1], generator=generators(6), **call).images
    assert torch.allclose(together[1:2], alone, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize(("kind", "guidance"), [("transformer", 2.0), ("unet", 1.0)])
def test_saved_and_loaded_by_name_of_its_folder(tmp_path, kind, guidance):
    pipe = network(kind, id2label={0: "coat", 2: "bag"})
    pipe.save_pretrained(tmp_path / "model")
    call = {"guidance_scale": guidance, "num_inference_steps": 3, "output_type": "np"}
    expected = pipe([0, 2], generator=generators(0, 1), **call).images
    with torch.random.fork_rng():
        direct = ClassConditionalPipeline.from_pretrained(tmp_path / "model")
    for loaded in (samplesmith.load(tmp_path / "model"), direct):
        assert type(loaded) is ClassConditionalPipeline
        assert loaded.labels == {"coat": 0, "bag": 2}
        loaded.set_progress_bar_config(disable=True)
        assert np.array_equal(loaded(["coat", "bag"], generator=generators(0, 1), **call).images, expected)


def test_names_are_loaded_without_a_word(tmp_path, monkeypatch):
    from diffusers.pipelines import pipeline_utils

    said = []
    monkeypatch.setattr(pipeline_utils.logger, "warning", lambda text, *_: said.append(text))
    network("unet", id2label={0: "coat", 2: "bag"}).save_pretrained(tmp_path)
    for source in (tmp_path, "fashion-ddpm"):
        assert samplesmith.load(source).labels
    assert said == []


def test_a_null_class_of_a_unet_is_kept_on_disk(tmp_path):
    network("unet", null_class=3).save_pretrained(tmp_path)
    pipe = samplesmith.load(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.null_class == 3
    assert pipe([0, 3], guidance_scale=2.0, num_inference_steps=1, generator=generators(0, 1)).images[1].size == (16, 8)


def test_output_types():
    pipe = exact(DDIMScheduler())
    call = {"class_labels": "bright", "num_inference_steps": 3, "latents": torch.linspace(-1, 1, 64).view(1, 1, 8, 8)}
    (latent,) = pipe(**call, output_type="latent", return_dict=False)
    pixels = pipe(**call, output_type="pt").images
    assert torch.allclose(pixels, (latent / 2 + 0.5).clamp(0, 1))
    assert np.allclose(pipe(**call, output_type="np").images[0, :, :, 0], pixels[0, 0])
    (picture,) = pipe(**call).images
    assert (picture.mode, picture.size) == ("L", (8, 8))
    assert np.allclose(np.asarray(picture) / 255, pixels[0, 0], atol=0.003)


def test_latents_are_unit_noise_whatever_the_scheduler():
    """Euler's own scale of 157 is put on inside: the same latents make nearly the same image with DDIM."""
    noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = []
    for scheduler in (DDIMScheduler(clip_sample=False), diffusers.EulerDiscreteScheduler()):
        pipe = exact(scheduler)
        images.append(pipe([0] * 4, num_inference_steps=200, latents=noise, output_type="latent").images)
    assert (images[0] - images[1]).abs().max() < 0.05


def test_half_of_twice_the_channels_is_a_variance_that_is_left_out():
    call = {"class_labels": [0], "num_inference_steps": 3, "output_type": "latent", "guidance_scale": 2.0}
    plain, learned = (
        exact(DDIMScheduler(), learned_variance=learned)(**call, generator=torch.Generator().manual_seed(0)).images
        for learned in (False, True)
    )
    assert torch.equal(plain, learned)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"])
def test_the_bar_ends_at_the_number_of_steps(scheduler, monkeypatch):
    pipe = exact(getattr(diffusers, scheduler)())
    pipe.set_progress_bar_config(disable=False)
    bars = []
    original = pipe.progress_bar
    monkeypatch.setattr(pipe, "progress_bar", lambda **given: bars.append(original(**given)) or bars[-1])
    pipe([0], num_inference_steps=12, generator=generators(0))
    assert (bars[0].n, bars[0].total) == (12, 12)


def test_a_callback_sees_each_step_changes_the_sample_and_ends_the_run():
    pipe = exact(DDIMScheduler())
    seen = []

    def callback(pipe, i, t, given):
        seen.append((i, int(t)))
        pipe._interrupt = i == 2
        return {"latents": torch.zeros_like(given["latents"])}

    call = {"class_labels": [0], "num_inference_steps": 5, "generator": generators(0), "output_type": "latent"}
    assert pipe(**call, callback_on_step_end=callback).images.abs().max() == 0
    assert seen == [(0, 800), (1, 600), (2, 400)]
    pipe(**call, callback_on_step_end=lambda pipe, i, t, given: seen.append(i) or {})
    assert seen[3:] == [0, 1, 2, 3, 4]


def test_noise_search_runs_on_it_and_makes_the_best_again():
    pipe = network("transformer", id2label={0: "coat", 1: "bag"})
    search = NoiseSearch(pipe, Brightness())
    result = search(["coat", 1], num_candidates=4, batch_size=3, num_inference_steps=3, guidance_scale=2.0, seed=7)
    assert result.ledger.nfe == 2 * 4 * 3 * 2
    for best, pool in zip(result.best, result.candidates, strict=True):
        assert best.score == max(candidate.score for candidate in pool)
        assert best.image.mode == "RGB"
        again = np.asarray(best.reproduce(pipe), np.int16)
        assert np.abs(again - np.asarray(best.image, np.int16)).max() <= 1
        grey = np.asarray(pipe(**best.pipeline_kwargs()).images[0], np.int16)
        assert np.abs(grey - again[:, :, 0]).max() <= 1


def test_time_shift_plugs_in_and_a_window_of_zero_changes_nothing():
    call = {"class_labels": [0, 1], "num_inference_steps": 10, "guidance_scale": 1.5, "output_type": "latent"}
    images = {}
    for window in (None, 0, 100):
        pipe = exact(DDIMScheduler(clip_sample=False))
        if window is not None:
            pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=window)
        images[window] = pipe(**call, generator=torch.Generator().manual_seed(0)).images
    assert torch.equal(images[None], images[0])
    assert not torch.equal(images[None], images[100])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_labels": [0, 3]}, r"3 is no class of this model; known: 0 \(bright\), 1 \(dark\), 2"),
        ({"class_labels": "grey"}, "'grey' is no class of this model"),
        ({"class_labels": [True]}, "True is no class"),
        ({"class_labels": []}, "class_labels is empty"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0; give at least 1"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1.0; give 1 for no guidance"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"generator": generators(0)}, "2 class labels but 1 generators"),
        ({"latents": torch.zeros(2, 1, 4, 4)}, r"latents have shape \(2, 1, 4, 4\); expected \(2, 1, 8, 8\)"),
        ({"output_type": "jpeg"}, "unknown output_type 'jpeg'; known: pil, np, pt, latent"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "a callback is given no prompt_embeds"),
    ],
)
def test_bad_calls_are_one_sentence(change, message):
    pipe = exact(DDIMScheduler())
    with pytest.raises(ValueError, match=message):
        pipe(**{"class_labels": torch.tensor([0, 1]), "generator": torch.Generator().manual_seed(0), **change})


def test_eta_and_guidance_where_they_mean_nothing():
    with pytest.raises(ValueError, match=r"eta is 0.5 but EulerDiscreteScheduler takes none"):
        exact(diffusers.EulerDiscreteScheduler())([0], eta=0.5)
    with pytest.raises(ValueError, match="guidance needs a null class and this model has none"):
        network("unet")([0], guidance_scale=2.0)
    with pytest.raises(ValueError, match="4 is no class of this model; known: 0, 1, 2, 3"):
        network("unet")([4])


def test_it_needs_one_denoiser_of_classes():
    with pytest.raises(ValueError, match="just one of unet= and transformer="):
        ClassConditionalPipeline(DDIMScheduler())
    with pytest.raises(ValueError, match="just one of unet= and transformer="):
        ClassConditionalPipeline(DDIMScheduler(), unet=network("unet").unet, transformer=GaussianDenoiser())
    unet = network("unet").unet
    unet.register_to_config(num_class_embeds=None)
    with pytest.raises(ValueError, match="the UNet takes no class labels"):
        ClassConditionalPipeline(DDIMScheduler(), unet=unet)


def test_names_become_numbers_as_in_dit_pipeline():
    assert exact(DDIMScheduler()).get_label_ids(["dark", "bright"]) == [1, 0]
