"""The benchmark of density estimators: Hutchinson's form is right, so that a comparison with it means something."""

import superposition_estimators as benchmark
import torch
from known_mixtures import Mixture
from superposed_worlds import GRIDS


def test_the_divergence_form_follows_a_gaussian_along_any_path():
    """Of one Gaussian a probe's trace is exact, and the rule's error falls with the square of the step."""
    gaussian, errors = Mixture(torch.full((1, 16), 0.3, dtype=torch.float64), 0.5), []
    for steps in (50, 200):
        alphas, sigmas = (values[steps // 10 : -1] for values in GRIDS["flow"](steps))
        draw = torch.Generator().manual_seed(0)
        divergence = benchmark.Divergence([gaussian], draw)
        start = torch.randn(200, 16, generator=draw, dtype=torch.float64)
        for alpha, sigma in zip(alphas, sigmas, strict=True):
            x = alpha * 0.3 + sigma * start  # a path of no model's
            divergence.see(x, alpha, sigma, tracked=True)
        true = gaussian.log_density(x, alphas[-1], sigmas[-1])
        true = true - gaussian.log_density(alphas[0] * 0.3 + sigmas[0] * start, alphas[0], sigmas[0])
        known = divergence.total[:, 0] - 16 * torch.log(alphas[-1] / alphas[0])
        errors.append(float((known - true).abs().max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[1] < 0.1


def test_errors_fall_with_the_steps():
    few, many = (benchmark.run("vp", "ancestral", "rne", steps) for steps in (25, 100))
    assert many["difference"] < 0.7 * few["difference"]
    assert many["log_density"] < 0.7 * few["log_density"]
