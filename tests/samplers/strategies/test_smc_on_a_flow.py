"""SMC by a scheduler's own steps, on a flow whose tilted density and normaliser are known."""

import numpy as np
import pytest
import torch
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.strategies.particle_weights import normalised
from tilted_flow import MIXTURE, distance, in_cells, steered

STEPS, PARTICLES = 200, 20_000
DIRECTION = torch.tensor([0.9, 0.5])
SCHEDULERS = {"euler-maruyama": {"diffusion": "linear", "norm": 2.0}, "glass:inner_steps=2": {}}
"""Settings of the transitions that are held to it."""


@pytest.mark.parametrize("transition", SCHEDULERS)
def test_weighted_particles_match_the_tilted_density(transition):
    scheduler = FlowSDEScheduler(integrator=transition, **SCHEDULERS[transition])
    target, _ = MIXTURE.tilted(DIRECTION)
    x, weights, resampled = steered(scheduler, DIRECTION, STEPS, PARTICLES)
    size = weights.effective_size
    assert size >= 0.6 * PARTICLES
    assert resampled, "a tilt so weak that nothing is resampled would test importance weights alone"
    generator = torch.Generator().manual_seed(5)
    exact = [distance(in_cells(target.draws(int(size), generator)), target.cells()) for _ in range(20)]
    assert distance(in_cells(x, normalised(weights.log)), target.cells()) <= 1.5 * np.mean(exact)
    assert distance(in_cells(x), MIXTURE.cells()) > 10 * np.mean(exact), "it is tilted at all"


@pytest.mark.parametrize("transition", SCHEDULERS)
def test_its_normaliser_is_that_of_the_tilt(transition):
    scheduler = FlowSDEScheduler(integrator=transition, **SCHEDULERS[transition])
    _, known = MIXTURE.tilted(DIRECTION)
    runs = [steered(scheduler, DIRECTION, STEPS, 2000, seed) for seed in range(0, 20, 2)]
    estimates = np.exp([weights.log_normaliser - known for _, weights, _ in runs])
    assert abs(estimates.mean() - 1) <= 3 * estimates.std(ddof=1) / np.sqrt(len(runs))
