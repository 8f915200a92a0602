"""A world in the plane with an exact teacher, and small networks to distil it into."""

import torch
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear
from samplesmith.training.distillation.examples import Examples
from samplesmith.training.randomness import initial_weights
from torch import nn

WORLD = Mixture([[-1.2, 0.0], [1.0, 0.8], [0.8, -1.0]], 0.25, [0.5, 0.3, 0.2])
TEACHER = WORLD.denoiser(Linear(), "velocity")


class Plane(nn.Module):
    """A velocity in the plane, by position, time and label; zero at first, so that a student begins as its noise."""

    def __init__(self, width=64, layers=2, seed=0):
        super().__init__()
        self.inner_dim = width
        with initial_weights(seed):
            self.first = nn.Linear(4, width)
            self.labels = nn.Embedding(WORLD.null + 1, width)
            self.mid_block = nn.Sequential(nn.SiLU(), *[nn.Linear(width, width), nn.SiLU()] * (layers - 1))
            self.last = nn.Linear(width, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x, timestep, class_labels=None, return_dict=True):
        times = torch.stack([timestep, (6 * timestep).sin()], 1)
        hidden = self.first(torch.cat([x, times], 1))
        if class_labels is not None:
            hidden = hidden + self.labels(class_labels)
        return (self.last(self.mid_block(hidden)),)


def examples(count=2000, labelled=False, paired=False):
    """Samples of the world; with their labels, or with a noise for each, where they are asked for."""
    generator = torch.Generator().manual_seed(5)
    x0, rows = WORLD.draw(count, generator)
    noise = torch.randn(x0.shape, generator=generator) if paired else None
    nothing = {"class_labels": torch.tensor([WORLD.null])} if labelled else None
    return Examples(x0.float(), {"class_labels": rows} if labelled else {}, nothing, noise)


def mode_shares(samples):
    """The share of samples that lie nearest to each mode."""
    nearest = torch.cdist(samples.double(), WORLD.means).argmin(1)
    return torch.bincount(nearest, minlength=len(WORLD.means)) / len(samples)
