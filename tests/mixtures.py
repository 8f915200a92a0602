"""Gaussian mixtures with exact scores: a teacher without error, for the tests of distillation."""

import torch
from samplesmith.samplers.interpolants import expand
from samplesmith.samplers.predictions import Prediction
from samplesmith.training.distillation.denoiser import Denoiser


class Mixture:
    """Components of one width; the label k restricts it to component k, the label `len(means)` to none.

    Args:
        means: (k, d).
        deviation: of every component in every dimension.
        weights: (k,), summing to one.
    """

    def __init__(self, means, deviation, weights):
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.deviation = deviation

    @property
    def null(self):
        return len(self.means)

    def draw(self, count, generator):
        """Samples (count, d) and their components."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[rows] + self.deviation * noise, rows

    def log_joint(self, x, alpha, sigma, labels=None):
        """log of weight times density of each component at noised samples, (n, k)."""
        variance = (alpha * self.deviation) ** 2 + sigma**2
        centres = expand(alpha, x[:, None]) * self.means if alpha.ndim else alpha * self.means
        distances = (x[:, None] - centres).square().sum(-1)
        variance = variance[:, None] if variance.ndim else variance
        log_density = -distances / (2 * variance) - x.shape[1] / 2 * torch.log(2 * torch.pi * variance)
        found = log_density + self.weights.log()
        if labels is None:
            return found
        others = (torch.arange(self.null) != labels[:, None]) & (labels != self.null)[:, None]
        return found.masked_fill(others, float("-inf"))

    def x0(self, x, alpha, sigma, labels=None):
        """The posterior mean of the clean sample."""
        shares = self.log_joint(x, alpha, sigma, labels).softmax(1)[..., None]
        alpha, sigma = (one[:, None, None] if one.ndim else one for one in (alpha, sigma))
        gain = alpha * self.deviation**2 / ((alpha * self.deviation) ** 2 + sigma**2)
        return (shares * (self.means + gain * (x[:, None] - alpha * self.means))).sum(1)

    def denoiser(self, path, kind, last=1.0, unit=1.0):
        """The exact denoiser, called as diffusers calls a network; its output is of the kind."""

        def network(x, timestep, class_labels=None, return_dict=True):
            t = timestep.double() / unit
            alpha, sigma = path.alpha(t), path.sigma(t)
            clean = self.x0(x.double(), alpha, sigma, class_labels)
            noise = (x.double() - expand(alpha, x) * clean) / expand(sigma, x)
            return (Prediction(clean, noise).write(kind, path, t).to(x.dtype),)

        return Denoiser(network, path, kind, last, unit)
