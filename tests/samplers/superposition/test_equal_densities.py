"""AND: how equal the *true* densities end, and whether the equations are solved."""

import pytest
import superposed_worlds as worlds
import torch
from samplesmith.samplers.superposition.operators import make_operator

UNEQUAL = worlds.World.of(2, (0.3, 1.0), (-0.5, 0.5))


def gaps(operator, steps=200, world=UNEQUAL, grid="vp", **settings):
    """Largest difference of true log-densities of each group, of estimated ones, and mean |kappa|."""
    out = worlds.superposed(world, grid, steps, operator=operator, exact_start=False, keep_trace=True, **settings)
    spread = out.true.amax(1) - out.true.amin(1)
    relative = out.run.densities.relative
    kappa = out.run.trace.stacked()["weights"].abs().mean()
    return float(spread.median()), float((relative.amax(1) - relative.amin(1)).max()), float(kappa)


@pytest.mark.parametrize("grid", ["vp", "flow"])
@pytest.mark.parametrize("estimator", ["ito", "rne"])
def test_the_predictable_and_ends_at_densities_that_are_equal_in_truth(grid, estimator):
    mean, _, _ = gaps("mean", grid=grid, estimator=estimator)
    equal, estimated, kappa = gaps("and", grid=grid, estimator=estimator)
    assert equal < mean / 3
    assert estimated < 1.5
    assert kappa < 2.5


def test_the_papers_and_equals_the_estimates_and_not_the_truth():
    """Its weights cancel the noise, so the path's diffusion is no longer the one for which the estimate holds."""
    true, estimated, kappa = gaps("and-paper", 100)
    more_true, more_estimated, more_kappa = gaps("and-paper", 400)
    assert max(estimated, more_estimated) < 1e-4
    assert min(true, more_true) > 3 * gaps("and", 400)[0]
    assert more_kappa > 1.6 * kappa  # as the square root of the steps


@pytest.mark.parametrize("count", [3, 4])
def test_the_equations_of_more_prompts_are_solved(count):
    means = torch.randn(count, 6, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    several = worlds.World(0.5 * means, torch.tensor((0.4, 0.6, 0.8, 1.0)[:count], dtype=torch.float64))
    _, estimated, _ = gaps("and-paper", 50, several)
    assert estimated < 1e-5
    out = worlds.superposed(several, "vp", 50, operator="and", keep_trace=True)
    assert (out.run.trace.stacked()["weights"].sum(2) - 1).abs().max() < 1e-5
    assert gaps("and", 200, several)[0] < gaps("mean", 200, several)[0] / 2


@pytest.mark.parametrize("operator", ["and", "and-paper"])
def test_a_lift_is_what_a_prompt_gains(operator):
    out = worlds.superposed(UNEQUAL, "vp", 200, operator=operator, lift=(3.0, 0.0), exact_start=False)
    relative = out.run.densities.relative
    assert (relative[:, 0] - relative[:, 1]).median() == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize("operator", ["and", "and-paper"])
def test_guided_and_still_equals_the_estimates(operator):
    three = worlds.World.of(4, (1.0, 0.5, 0.7), (0.0, 0.4, -0.4))
    out = worlds.superposed(three, "vp", 200, operator=operator, prompts=2, guidance_scale=4.0, exact_start=False)
    relative = out.run.densities.relative
    assert (relative[:, 1] - relative[:, 2]).abs().median() < 0.3


def test_prompts_that_agree_leave_nothing_to_choose():
    """But for rounding, which must not be taken for a difference: the same prompt twice is that prompt."""
    same = worlds.World.of(4, (0.5, 0.5 + 1e-7), (0.2, 0.2))
    start = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    out = worlds.superposed(same, "flow", 20, operator="and", start=start, dtype=start.dtype, keep_trace=True)
    assert (out.run.trace.stacked()["weights"] - 0.5).abs().max() < 0.02


def test_weights_stay_within_their_range():
    out = worlds.superposed(UNEQUAL, "vp", 50, operator="and", kappa_range=(-0.5, 1.5), keep_trace=True)
    weights = out.run.trace.stacked()["weights"]
    assert weights.min() >= -0.5 - 1e-6
    assert (weights.sum(2) - 1).abs().max() < 1e-5
    with pytest.raises(ValueError, match="give a range that holds 1 / 2"):
        make_operator("and", 2, kappa_range=(0.6, 1.0))
    with pytest.raises(ValueError, match="feedback is 0"):
        make_operator("and", 2, feedback=0)
