import torch
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear
from samplesmith.training.distillation import ode_pairs

WORLD = Mixture([[0.5, -1.0], [3.0, 3.0]], 0.3, [0.5, 0.5])


def test_of_one_gaussian_the_ode_is_a_straight_map():
    """x = mean + deviation z, to the order of the steps: halving them halves the error."""
    teacher = WORLD.denoiser(Linear(), "velocity")
    noise = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = {"class_labels": torch.zeros(64, dtype=torch.long)}
    exact = WORLD.means[0] + WORLD.deviation * noise

    def error(steps):
        times = torch.linspace(1, 0, steps + 1)[:-1].tolist()
        return ode_pairs.loss(ode_pairs.solve(teacher, noise, times, labels), exact).sqrt()

    assert error(200) < 0.01
    assert 1.7 < error(50) / error(100) < 2.3


def test_guidance_moves_the_ends_away_from_the_other_class():
    teacher = WORLD.denoiser(Linear(), "velocity")
    noise = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, null = ({"class_labels": torch.full((64,), label)} for label in (0, WORLD.null))
    times = torch.linspace(1, 0, 21)[:-1].tolist()
    plain, guided = (ode_pairs.solve(teacher, noise, times, labels, null, scale) for scale in (1.0, 2.0))
    assert ((guided - plain).mean(0) < 0).all()
