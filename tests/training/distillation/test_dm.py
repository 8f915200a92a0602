"""Distribution matching against the KL itself, by quadrature, on mixtures with exact scores."""

import pytest
import torch
from diffusers import DDPMScheduler
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear, from_scheduler
from samplesmith.training.distillation import dm

TARGET = Mixture([[-1.5], [1.0]], 0.4, [0.3, 0.7])


def kl(mean, deviation, alpha, sigma):
    """KL(N(alpha m, alpha^2 s^2 + sigma^2) || target at that time), by the midpoint rule."""
    grid = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    variance = (alpha * deviation) ** 2 + sigma**2
    log_fake = -((grid - alpha * mean) ** 2) / (2 * variance) - 0.5 * torch.log(2 * torch.pi * variance)
    log_real = TARGET.log_joint(grid[:, None], alpha, sigma).logsumexp(1)
    return (log_fake.exp() * (log_fake - log_real)).sum() * (grid[1] - grid[0])


@pytest.mark.parametrize(("path", "time"), [(Linear(), 0.3), (Linear(), 0.8), (from_scheduler(DDPMScheduler()), 400.0)])
def test_with_the_exact_weight_the_gradient_is_the_kls(path, time):
    """Of a Gaussian generator m + s z: both of its parameters' gradients, within four standard errors."""
    mean, deviation = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.5, 0.8))
    t = torch.tensor(time, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    exact = torch.stack(torch.autograd.grad(kl(mean, deviation, alpha, sigma), (mean, deviation)))

    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 200_000, 1, generator=generator, dtype=torch.float64)
    x = mean + deviation * z
    x_t = (alpha * x + sigma * noise).detach()
    own = Mixture([[mean.item()]], deviation.item(), [1.0])
    weights = dm.kl_weights(path, t.expand(len(x)))
    gradient = dm.gradient(own.x0(x_t, alpha, sigma), TARGET.x0(x_t, alpha, sigma), weights)
    found = torch.stack(torch.autograd.grad(dm.surrogate(x, gradient), (mean, deviation)))

    errors = torch.stack([gradient[:, 0], (gradient * z)[:, 0]]).std(1) / len(x) ** 0.5
    assert ((found - exact).abs() < 4 * errors).all()
    assert (exact.abs() > 10 * errors).all()  # it could have failed


def test_the_gradient_vanishes_where_both_distributions_are_one():
    x, _ = TARGET.draw(64, torch.Generator().manual_seed(0))
    alpha, sigma = torch.tensor(0.6), torch.tensor(0.4)
    predicted = TARGET.x0(x, alpha, sigma)
    assert not dm.gradient(predicted, predicted, dm.balanced_weights(x, predicted)).any()


def test_balanced_weights_take_the_size_of_a_sample_out():
    """Samples, predictions and so gradients of a hundred times the size get a step of the same size."""
    x, teacher, fake = torch.randn(3, 5, 2, 4, generator=torch.Generator().manual_seed(0)).unbind()
    small = dm.gradient(fake, teacher, dm.balanced_weights(x, teacher))
    large = dm.gradient(100 * fake, 100 * teacher, dm.balanced_weights(100 * x, 100 * teacher))
    assert torch.allclose(small, large, rtol=1e-4)
    alone = dm.balanced_weights(x[:1], teacher[:1])
    assert torch.equal(alone, dm.balanced_weights(x, teacher)[:1])  # a row does not depend on its batch
    assert dm.balanced_weights(x.half(), teacher.half()).dtype == torch.float32
    assert dm.balanced_weights(x, x).isfinite().all()


def test_the_surrogate_hands_its_gradient_to_every_row():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    dm.surrogate(x, wanted).backward()
    assert torch.allclose(x.grad, wanted / 4, atol=1e-6)
