"""Coefficients of both integrators, at both ends of each path."""

import math

import pytest
import superposed_worlds as worlds
import torch
from samplesmith.samplers.superposition import INTEGRATORS, steps_along


def test_the_ancestral_step_is_ddims_with_fresh_noise():
    """Song et al., arXiv 2010.02502, eq. 12 with eta = 1."""
    a, b = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    (step,) = steps_along([a.sqrt(), b.sqrt()], [(1 - a).sqrt(), (1 - b).sqrt()], "ancestral")
    variance = (1 - b) / (1 - a) * (1 - a / b)
    assert step.clean == pytest.approx(float(b.sqrt()))
    assert step.std == pytest.approx(float(variance.sqrt()))
    assert step.noise == pytest.approx(float((1 - b - variance).sqrt()))


def test_euler_maruyama_is_the_published_step():
    (step,) = steps_along([1.0, 1.0], [10.0, 9.0], "euler-maruyama")
    assert step.noise == pytest.approx(10 - 2)  # y + 2 ds eps, with y = x_0 + s eps
    assert step.std == pytest.approx(math.sqrt(2 * 1.0 * 10.0))


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("grid", worlds.GRIDS)
def test_steps_are_finite_and_end_in_the_clean_prediction(grid, integrator):
    steps = steps_along(*worlds.GRIDS[grid](50), integrator)
    numbers = [(s.clean, s.noise, s.std, s.drift, s.variance, s.log_scale, s.progress, s.share) for s in steps]
    assert torch.tensor(numbers).isfinite().all()
    assert (steps[-1].clean, steps[-1].noise, steps[-1].std) == (1, 0, 0)
    assert not steps[-1].tracked  # it adds no noise, and so tells nothing
    assert sum(step.share for step in steps) == pytest.approx(1)


def test_a_flow_is_not_tracked_before_its_densities_differ():
    steps = steps_along(*worlds.flow_grid(100), "ancestral")
    assert math.isinf(steps[0].ratio)
    assert [step.tracked for step in steps[:4]] == [False, False, True, True]  # t = 1, 0.99, 0.98, 0.97


def test_noise_that_does_not_fall_is_refused():
    with pytest.raises(ValueError, match="one model call per step at falling noise"):
        steps_along([0.5, 0.5, 1.0], [0.8, 0.8, 0.0], "ancestral")
    with pytest.raises(ValueError, match="unknown integrator 'heun'"):
        steps_along([0.5, 1.0], [0.8, 0.0], "heun")
