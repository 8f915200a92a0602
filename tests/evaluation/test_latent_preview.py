"""Fitting a linear preview to a pipeline's own runs."""

import torch
from samplesmith.assets import call_defaults
from samplesmith.evaluation.latent_preview import fit_latent_preview
from samplesmith.pipelines import decode


def test_it_explains_most_of_what_a_model_draws(emoji_pipe):
    arguments = {**call_defaults("emoji-sd3"), "num_inference_steps": 3}
    prompts = ["two cats on pink", "a star on blue", "three hearts on white"]
    fit = fit_latent_preview(emoji_pipe, prompts, arguments.pop("num_inference_steps"), **arguments)
    assert fit.explained > 0.5
    latents = torch.randn(1, emoji_pipe.vae.config.latent_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    assert fit(emoji_pipe, latents).shape == decode(emoji_pipe, latents).shape
