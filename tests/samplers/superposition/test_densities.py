"""Both estimators against exact log-densities of Gaussians of unequal widths: equal ones would hide most errors."""

from dataclasses import dataclass

import numpy as np
import pytest
import superposed_worlds as worlds
import torch
from samplesmith.samplers.superposition import ESTIMATORS, INTEGRATORS
from samplesmith.samplers.superposition.ito import Ito
from samplesmith.samplers.superposition.scores import FIRST_ROW, MEAN
from samplesmith.samplers.superposition.steps import ancestral

WIDTHS, CENTRES = (0.5, 0.9), (0.3, -0.3)


def world(elements):
    return worlds.World.of(elements, WIDTHS, CENTRES)


@pytest.mark.slow
@pytest.mark.parametrize("elements", [2, 16, 256])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("grid", ["vp", "flow"])
def test_a_thousand_steps_leave_little_bias(grid, estimator, elements):
    """Of one log-density at most 4 % of the dimension, of their difference, which operators use, 0.5 %.

    Ito's sum misses the first on a flow's even times: 6 % of the dimension, as its first steps are long in t / (1 - t).
    """
    largest = 0.07 if (grid, estimator) == ("flow", "ito") else 0.04
    out = worlds.superposed(
        world(elements), grid, 1000, groups=200, estimator=estimator, integrator="euler-maruyama", seed=elements
    )
    noise = 3 * float(out.gap_error.std()) / 200**0.5
    assert abs(out.error.mean()) < largest * elements
    assert abs(out.gap_error.mean()) < 0.005 * elements + noise
    assert out.true_gap.std() > 10 * out.gap_error.std() or elements < 16


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_error_falls_with_the_steps(integrator):
    """The bias in order 1, by Ito's form, which has one to see."""
    steps = [40, 80, 160, 320]
    biases = [
        abs(float(worlds.superposed(world(16), "ve", n, estimator="ito", integrator=integrator).error.mean()))
        for n in steps
    ]
    order = -np.polyfit(np.log(steps), np.log(biases), 1)[0]
    assert order > 0.9, biases


@pytest.mark.parametrize("grid", ["vp", "flow"])
@pytest.mark.parametrize("steps", [10, 50, 200])
def test_the_reference_takes_most_of_the_error_of_a_log_density(grid, steps):
    errors = {
        name: float(worlds.superposed(world(16), grid, steps, estimator=name).error.square().mean().sqrt())
        for name in ESTIMATORS
    }
    assert errors["rne"] < errors["ito"] / 3, errors


def test_the_estimator_of_the_reference_itself_is_exact():
    """Gaussian data of the reference's width is its own control variate, with any steps and any path."""
    same = worlds.World.of(16, (1.0, 1.0), (0.0, 0.0))
    out = worlds.superposed(same, "vp", 7, operator="mean")
    assert out.error.abs().max() < 1e-9


@dataclass(frozen=True)
class PublishedOr(Ito):
    """The form that the authors' script has in its OR branch: the quadratic term with the opposite sign."""

    def change(self, scores, score, step):
        common, relative = super().change(scores, score, step)
        rows = slice(FIRST_ROW, scores.noise)
        squares = scores.differences.diagonal(dim1=1, dim2=2) + 2 * scores.gram[:, MEAN, rows]
        return common + step.drift * scores.gram[:, MEAN, MEAN], relative + step.drift * squares


def test_the_sign_of_the_theorem(monkeypatch):
    monkeypatch.setitem(ESTIMATORS, "published", PublishedOr)
    arguments = {"grid": "ve", "steps": 300, "integrator": "euler-maruyama"}
    right = worlds.superposed(world(16), estimator="ito", **arguments)
    wrong = worlds.superposed(world(16), estimator="published", **arguments)
    assert right.error.mean().abs() < 2
    assert wrong.error.mean() > 50


def test_only_the_natural_diffusion_tells_the_densities(monkeypatch):
    """A flow's samples with a quarter of its noise have the right marginals, and wrong estimates."""

    def quarter(shrink):
        drift, _ = ancestral(shrink)
        return 0.5 * (1 + 0.25) * drift, 0.25 * drift

    monkeypatch.setitem(INTEGRATORS, "quarter", quarter)
    natural, less = (
        worlds.superposed(world(16), "flow", 400, estimator="ito", integrator=name, groups=300)
        for name in ("euler-maruyama", "quarter")
    )
    assert float(natural.final.std()) == pytest.approx(float(less.final.std()), rel=0.1)
    assert less.gap_error.mean().abs() > 10 * natural.gap_error.mean().abs()
    assert less.gap_error.mean().abs() > 2


def test_float32_keeps_what_tells_prompts_apart():
    wide = worlds.World.of(4096, (0.8, 0.9), (0.02, -0.02))
    start = torch.randn(4, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = {
        dtype: worlds.superposed(wide, "vp", 100, operator="mean", start=start, dtype=dtype, exact_start=False)
        for dtype in (torch.float32, torch.float64)
    }
    relative = {dtype: one.run.densities.relative.double() for dtype, one in out.items()}
    gap = relative[torch.float64].diff(dim=1)
    assert gap.abs().mean() > 5
    assert (relative[torch.float32].diff(dim=1) - gap).abs().max() < 2e-2


def test_any_shape_will_do():
    flat = worlds.superposed(world(24), "flow", 20, groups=6)
    cube = worlds.superposed(world(24), "flow", 20, groups=6, shape=(2, 3, 4))
    assert torch.equal(flat.final, cube.final.flatten(1))
    assert torch.equal(flat.estimated, cube.estimated)


def test_guided_paths_leave_the_estimate_right():
    """The theorem holds for any drift: densities are of the conditional models, on the guided path."""
    three = worlds.World.of(8, (0.9, 0.5, 0.7), (0.0, 0.5, -0.5))  # the reference, and two prompts
    out = worlds.superposed(three, "vp", 400, operator="mean", prompts=2, guidance_scale=3.0)
    assert out.error.square().mean().sqrt() < 0.5


def test_a_wrong_reference_is_refused():
    with pytest.raises(ValueError, match="data_std is 0"):
        ESTIMATORS["rne"](0)
