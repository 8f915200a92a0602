"""Verifiers with a known answer, and a hook that watches what reaches a network."""

import torch
from samplesmith.models.fashion_classifier import FashionClassifier
from samplesmith.samplers.hooks import DenoiserHook, attach
from samplesmith.verifiers import Verifier


class Brightness(Verifier):
    """Mean of the pixels; counts its calls and may fail on chosen images."""

    name = "brightness"
    differentiable = True

    def __init__(self, name="brightness", factor=1.0, fail_above=None, nan_above=None, scale=1.0):
        self.name, self.factor, self.scale = name, factor, scale
        self.fail_above, self.nan_above = fail_above, nan_above
        self.images_scored = 0

    def score(self, images, prompts, previews=None):
        self.images_scored += len(images)
        values = images.mean((1, 2, 3))
        if self.fail_above is not None and (values > self.fail_above).any():
            raise RuntimeError("too bright for me")
        if self.nan_above is not None:
            values = torch.where(values > self.nan_above, torch.nan, values)
        return self.factor * values


def small_classifier():
    """A classifier of Fashion-MNIST with random weights, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FashionClassifier(width=8).eval()


class _Watch(DenoiserHook):
    place = -1  # nearest to the network: after whatever our hooks make of the call

    def __init__(self, see):
        super().__init__()
        self.see = see

    def pre_forward(self, module, *args, **kwargs):
        self.see(args, kwargs)
        return args, kwargs


def watch(network, see):
    """Call `see(args, kwargs)` with what a network's own forward is called with; returns what removes it."""
    return attach(network, _Watch(see))
