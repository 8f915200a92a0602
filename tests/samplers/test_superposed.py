"""SuperposedScheduler in a pipeline's loop without a pipeline, around schedulers of every kind of path."""

import copy
import pickle

import pytest
import superposed_worlds as worlds
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from samplesmith.samplers import SuperposedScheduler, TimeShiftScheduler
from scheduler_runs import scaled
from torch.utils._python_dispatch import TorchDispatchMode

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "trailing"}
CHILDREN = {
    "ddim": lambda: DDIMScheduler(clip_sample=False, **BETAS),
    "v": lambda: DDIMScheduler(clip_sample=False, prediction_type="v_prediction", rescale_betas_zero_snr=True, **BETAS),
    "sample": lambda: DDIMScheduler(clip_sample=False, prediction_type="sample", **BETAS),
    "dpm++": lambda: DPMSolverMultistepScheduler(**BETAS),
    "unipc": lambda: UniPCMultistepScheduler(**BETAS),
    "euler": lambda: EulerDiscreteScheduler(**BETAS),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
}
WORLD = worlds.World.of(12, (0.9, 0.4, 0.6), (0.0, -0.8, 0.8))
"""The reference, and two prompts."""


def place(scheduler, t):
    """alpha and sigma, from what the scheduler itself has."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        sigma = t.double() / 1000
        return 1 - sigma, sigma
    if isinstance(scheduler, EulerDiscreteScheduler):
        product = torch.from_numpy(scheduler.alphas_cumprod.double().numpy())[t.long()]
        return torch.ones((), dtype=torch.float64), ((1 - product) / product).sqrt()
    product = scheduler.alphas_cumprod.double()[t.long()]
    return product.sqrt(), (1 - product).sqrt()


def outputs(scheduler, x, t, rows=3):
    """The exact model output of each row of each group, as the scheduler's model predicts."""
    alpha, sigma = place(scheduler, t)
    eps = WORLD.eps(x[::rows].double(), alpha, sigma)
    own = x[::rows, None].double()
    kind = scheduler.config.get("prediction_type", "flow")
    clean = (own - sigma * eps) / alpha if alpha > 1e-6 else WORLD.means.view(1, 3, *x.shape[1:]).expand_as(eps)
    found = {
        "epsilon": eps,
        "sample": clean,
        "v_prediction": alpha * eps - sigma * clean,
        "flow": eps - clean,
    }[kind]
    return found.flatten(0, 1).to(x.dtype)


def run(scheduler, groups=4, steps=12):
    noise = torch.randn(groups, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    noise[0] = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1))
    scheduler.set_timesteps(steps)
    x = noise.repeat_interleave(3, 0) * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        scaled(scheduler, x, t)
        x = scheduler.step(outputs(scheduler, x, t), t, x, return_dict=False)[0]
    return x


def around(child, **settings):
    return SuperposedScheduler.from_scheduler(child, **{"operator": "or", "guidance_scale": 2.0, **settings})


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("operator", ["and", "or", '"a" & ~"b"'])
def test_runs_of_any_path_and_prediction(name, operator):
    scheduler = around(CHILDREN[name](), operator=operator, keep_trace=True)
    end = run(scheduler)
    assert isinstance(scheduler, type(CHILDREN[name]()))
    assert end.isfinite().all()
    assert torch.equal(end.view(4, 3, -1)[:, :1].expand(4, 3, 12), end.view(4, 3, -1))
    assert torch.equal(end[::3], scheduler.sample)
    assert scheduler.clean.shape == scheduler.sample.shape
    assert scheduler.clean.isfinite().all()
    assert scheduler.log_densities.shape == (4, 2)
    assert scheduler.log_densities.isfinite().all()
    assert scheduler.trace.stacked()["weights"].sum(2).sub(1).abs().max() < 1e-4
    assert torch.equal(run(scheduler), end)  # set_timesteps begins anew


def test_the_same_run_in_other_coordinates_and_of_other_predictions():
    """Four schedulers of one path, whose samples are scaled or not: the same noise makes the same picture."""
    ends, densities = {}, {}
    for name in ("ddim", "euler", "dpm++", "sample"):
        scheduler = around(CHILDREN[name](), operator="and")
        ends[name], densities[name] = run(scheduler, steps=20), scheduler.log_densities.diff(dim=1)
    for name in ("dpm++", "sample"):
        assert torch.allclose(ends[name], ends["ddim"], atol=1e-3)
        assert torch.allclose(densities[name], densities["ddim"], atol=2e-2)
    # Euler starts from noise of sqrt(1 + sigma^2), DDIM from noise of 1: the same signal-to-noise ratio, almost.
    assert torch.allclose(ends["euler"], ends["ddim"], atol=0.1)


def test_or_around_a_schedulers_own_times_is_the_mixture():
    scheduler = around(CHILDREN["flow"](), guidance_scale=1.0)
    end = run(scheduler, groups=600, steps=60)[::3].flatten(1)
    share = float((end.mean(1) < 0).double().mean())
    assert share == pytest.approx(0.5, abs=3 * (0.25 / 600) ** 0.5)
    right = (scheduler.log_densities.diff(dim=1)[:, 0] > 0) == (end.mean(1) > 0)
    assert right.double().mean() > 0.95  # the densities tell which prompt a sample is of


def test_rows_that_do_not_hold_the_same_latent_are_told_the_right_call():
    scheduler = around(CHILDREN["flow"]())
    scheduler.set_timesteps(4)
    x = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    t = scheduler.timesteps[0]
    with pytest.raises(ValueError, match=r"do not hold the same latent.*superpose\(pipe, prompts, seed=0\)"):
        scheduler.step(x, t, x)
    with pytest.raises(ValueError, match=r"5 rows are no groups of 3 \(the unconditional row and 2 prompts"):
        scheduler.step(x[:5], t, x[:5])
    fresh = around(CHILDREN["flow"]())
    with pytest.raises(ValueError, match="no timesteps are set"):
        fresh.step(x, t, x)


@pytest.mark.parametrize(
    ("child", "settings", "sentence"),
    [
        (PNDMScheduler(skip_prk_steps=True), {}, "one model call per step at falling noise"),
        (HeunDiscreteScheduler(), {}, "more than one model call per step"),
        (DDIMScheduler(), {"unconditional": False}, "guidance_scale=2 needs the unconditional row"),
        (
            DDIMScheduler(),
            {"unconditional": False, "guidance_scale": 1.0, "operator": '"a" & ~"b"'},
            "NOT needs the unconditional row",
        ),
        (DDIMScheduler(), {"estimator": "hutchinson"}, "unknown estimator 'hutchinson'"),
        (DDIMScheduler(), {"integrator": "heun"}, "unknown integrator 'heun'"),
        (DDIMScheduler(), {"correct": "smc"}, "unknown correction 'smc'"),
        (DDIMScheduler(), {"correct": "fkc", "operator": "and"}, "has none of its own"),
        (DDIMScheduler(), {"num_conditions": 0}, "num_conditions is 0"),
        (TimeShiftScheduler(solver="ddim"), {}, "give the scheduler that is in it"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(child, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        around(child, **settings).set_timesteps(4)


def test_noise_predicted_of_nothing_but_noise_is_refused():
    child = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False)
    with pytest.raises(ValueError, match="use a model that predicts v or velocity"):
        around(child).set_timesteps(4)


@pytest.mark.parametrize("name", ["ddim", "flow"])
def test_saved_copied_and_pickled(name, tmp_path):
    scheduler = around(CHILDREN[name](), lift=[1.0, 0.0], operator="and", kappa_range=[-1.0, 2.0], seed=3)
    end = run(scheduler)
    scheduler.save_pretrained(tmp_path)
    for other in (
        SuperposedScheduler.from_pretrained(tmp_path),
        copy.deepcopy(scheduler),
        pickle.loads(pickle.dumps(scheduler)),
        SuperposedScheduler.from_scheduler(scheduler),
    ):
        assert torch.equal(run(other), end)
    assert not torch.equal(run(around(CHILDREN[name](), operator="and", seed=4)), end)


def test_each_group_has_its_own_noise_whoever_stands_beside_it():
    scheduler = around(CHILDREN["flow"]())

    def generators(rows):
        return [torch.Generator().manual_seed(7 + row // 3) for row in range(rows)]

    scheduler.set_generators(generators(12))
    four = run(scheduler)
    scheduler.set_generators(generators(3))
    assert torch.allclose(run(scheduler, groups=1), four[:3], atol=1e-5)
    scheduler.set_generators(generators(5))
    with pytest.raises(ValueError, match="5 generators for 4 groups of 3 rows"):
        run(scheduler)


class _Syncs(TorchDispatchMode):
    """Counts what would wait for a device: values asked of tensors."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.found.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{"operator": "and"}, {"operator": '"a" & ~"b"', "correct": "fkc"}])
def test_no_step_but_the_first_asks_a_tensor_for_its_value(settings):
    scheduler = around(CHILDREN["flow"](), keep_trace=True, **settings)
    scheduler.set_timesteps(4)
    x = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).expand(6, 3, 2, 2)
    for number, t in enumerate(scheduler.timesteps):
        output = outputs(scheduler, x, t)
        with _Syncs() as syncs:
            x = scheduler.step(output, t, x).prev_sample
        assert not syncs.found or number == 0


def test_resampled_groups_follow_each_other():
    scheduler = around(
        CHILDREN["flow"](), operator='"a" & "b"', correct="fkc", clamp=None, window=(0.0, 1.0), keep_trace=True
    )
    run(scheduler, groups=64, steps=20)
    sizes = scheduler.trace.stacked()["effective_sizes"]
    assert sizes.shape == (20,)
    assert sizes.min() < 60
    assert sizes[0] == 64  # nothing is gathered where all densities are equal
    assert scheduler.log_weights.shape == (64,)
