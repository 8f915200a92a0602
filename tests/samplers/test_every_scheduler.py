"""Every scheduler of ours around every kind of diffusers' own: what must stay the child's run is so, bit for bit.

A pair that cannot work is refused when it is made.
"""

import functools
import inspect
import math

import numpy as np
import pytest
import scheduler_runs
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from diffusers.utils.torch_utils import randn_tensor
from every_scheduler import (
    CHILDREN,
    CUTOFF,
    FLOWS,
    NORM,
    PAIRS,
    REFUSED,
    SHIFT,
    STEPS,
    WINDOW,
    WRAPPERS,
    stock,
    toy,
    wrap,
)
from samplesmith.samplers import FlowSDEScheduler
from scheduler_runs import extra, scaled

ROWS = 2
EVERY = pytest.mark.parametrize(("wrapper", "name"), PAIRS)


class EulerMaruyama(FlowMatchEulerDiscreteScheduler):
    """The SDE of g = NORM t^2 from its formula, dx = (u - g^2 / 2 score) dt + g dW, for what is not a stock run."""

    def step(self, model_output, timestep, sample, generator=None, return_dict=True):
        if self.step_index is None:
            self._init_step_index(timestep)
        now, then = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        added = min((now - then) * (NORM * now**2) ** 2, then**2)  # never more noise than there is at the step's end
        score = -(sample + (1 - now) * model_output) / now
        z = randn_tensor(sample.shape, generator=generator, dtype=torch.float32)
        self._step_index += 1
        return (sample + (then - now) * model_output + added / 2 * score + math.sqrt(added) * z,)


class Numbered:
    """A scheduler whose step is told times as numbers."""

    def __init__(self, scheduler):
        self.scheduler = scheduler

    def __getattr__(self, name):
        return getattr(self.scheduler, name)

    @property
    def step(self):
        @functools.wraps(self.scheduler.step)
        def step(output, t, *args, **kwargs):
            return self.scheduler.step(output, t.item(), *args, **kwargs)

        return step


def reference(wrapper, name):
    """What a pair's run must be: the child's own, of FlowSDEScheduler that of Euler's method."""
    if wrapper == "ode":
        return FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    return EulerMaruyama(shift=SHIFT) if wrapper == "sde" else stock(name)


def random(seed):
    return torch.randn(ROWS, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def generators():
    return [torch.Generator().manual_seed(10 + row) for row in range(ROWS)]


def loop(scheduler, x, draws, model=toy, **options):
    return scheduler_runs.loop(scheduler, x, model, draws, **options)


def run(wrapper, scheduler, x, draws, **options):
    if wrapper != "two windows":
        return loop(scheduler, x, draws, **options)
    scheduler.set_window(0, None)
    scheduler.set_timesteps(**{key: value for key, value in options.items() if key not in ("model", "first")})
    if scheduler.num_steps < 2:
        return loop(scheduler, x, draws, **options)
    cut = scheduler.num_steps // 2
    scheduler.set_window(0, cut)
    x = loop(scheduler, x, draws, **options)
    scheduler.set_window(cut)
    return loop(scheduler, x, draws, **options)


def check(wrapper, ours, theirs, **options):
    """Run both; the stock scheduler's model is called at the times of ours, and those are its own unless shifted."""
    options = options if options.keys() - {"first"} else {"num_inference_steps": STEPS, **options}
    called = []

    def recording(x, t):
        called.append(float(t))
        return toy(x, t)

    out = run(wrapper, ours, random(0), generators(), model=recording, **options)
    times = iter(called)
    if wrapper == "shift":  # tells the child its times as numbers, with which LCM's rounds less
        theirs = Numbered(theirs)
    expected = loop(theirs, random(0), generators(), model=lambda x, t: toy(x, next(times)), **options)
    grid = theirs.timesteps[options.get("first", 0) :].tolist()
    assert out.isfinite().all()
    if wrapper == "shift":
        assert len(called) == len(grid)
        assert called[0] == grid[0]
        assert all(abs(a - b) <= WINDOW / 2 + 0.5 if b > CUTOFF else a == b for a, b in zip(called, grid, strict=True))
    else:
        assert called == grid
    if wrapper == "sde":
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(out, expected)
    return called, grid


@pytest.mark.parametrize(("wrapper", "name"), REFUSED)
def test_a_pair_that_cannot_work_is_refused_when_it_is_made(wrapper, name):
    with pytest.raises(ValueError, match=REFUSED[wrapper, name]) as error:
        wrap(wrapper, stock(name))
    assert "\n" not in str(error.value)
    if wrapper in ("ode", "sde"):
        with pytest.raises(ValueError, match="of no flow-matching scheduler"):
            FlowSDEScheduler.from_config(stock(name).config)


@pytest.mark.parametrize("steps", [1, 2, STEPS, 10])
@EVERY
def test_the_full_loop(wrapper, name, steps):
    ours = wrap(wrapper, stock(name))
    if name == "pndm" and steps < 4:  # its Runge-Kutta start itself needs four
        for one in (stock(name), ours):
            with pytest.raises(ValueError, match="could not be broadcast together"):
                one.set_timesteps(steps)
        return
    for _ in range(2):  # a run begins anew
        check(wrapper, ours, reference(wrapper, name), num_inference_steps=steps)


@pytest.mark.parametrize("name", [name for name in CHILDREN if ("shift", name) not in REFUSED])
def test_a_shift_shifts(name):
    called, grid = check("shift", wrap("shift", stock(name)), stock(name), num_inference_steps=10)
    assert called != grid


@pytest.mark.parametrize(("wrapper", "name"), [pair for pair in PAIRS if pair[0] != "shift"])
def test_a_row_alone_is_as_in_its_batch(wrapper, name):
    """By its own generator; but for time shift, whose rows share the time."""
    ours = wrap(wrapper, stock(name))
    batch = run(wrapper, ours, random(0), generators(), num_inference_steps=STEPS)
    alone = run(wrapper, ours, random(0)[1:], generators()[1:], num_inference_steps=STEPS)
    torch.testing.assert_close(alone, batch[1:], rtol=1e-4, atol=1e-5)
    if extra(ours, None):
        swapped = run(wrapper, ours, random(0), generators()[::-1], num_inference_steps=STEPS)
        draws = wrapper == "sde" or name in ("ddpm", "dpm++ sde", "sa-solver", "lcm", "tcd", "flow lcm")
        draws = (draws or "ancestral" in name) and wrapper != "ode"
        assert torch.equal(swapped, batch) is not draws


@EVERY
def test_save_and_load(wrapper, name, tmp_path):
    ours = wrap(wrapper, stock(name))
    ours.save_pretrained(tmp_path)
    cls, settings = WRAPPERS[wrapper]
    loaded = cls.from_pretrained(tmp_path)
    assert type(loaded) is type(ours)
    assert {key: loaded.config[key] for key in settings} == settings
    check(wrapper, loaded, reference(wrapper, name))
    if cls is not FlowSDEScheduler:  # a child's class reads what we saved, too
        check("whole run", wrap("whole run", CHILDREN[name][0].from_pretrained(tmp_path)), stock(name))


@EVERY
def test_configs_go_both_ways(wrapper, name):
    cls, settings = WRAPPERS[wrapper]
    child = stock(name)
    kind = type(child)
    named = {**child.config, "_class_name": kind.__name__}  # as in a file
    ours = cls.from_config(named, **settings)
    check(wrapper, ours, reference(wrapper, name))
    if cls is not FlowSDEScheduler:
        with pytest.raises(ValueError, match="does not name its scheduler class"):
            cls.from_config(child.config, **settings)
        check(wrapper, cls.from_config(child.config, **settings, **{cls.child_setting: kind.__name__}), child)
    back = kind.from_config(ours.config)
    assert type(back) is kind
    expected = kind.from_config(child.config)
    takes = [key for key in inspect.signature(kind).parameters if key in expected.config]
    assert {key: back.config[key] for key in takes} == {key: expected.config[key] for key in takes}
    check("whole run", wrap("whole run", back), stock(name))


@pytest.mark.parametrize("kind", ["timesteps", "sigmas"])
@EVERY
def test_own_times(wrapper, name, kind):
    ours, theirs = wrap(wrapper, stock(name)), reference(wrapper, name)
    if kind not in inspect.signature(theirs.set_timesteps).parameters:
        # With window 0 the child says it itself.
        with pytest.raises((ValueError, TypeError), match=rf"takes no {kind}; it takes|unexpected keyword") as error:
            ours.set_timesteps(**{kind: [3.0, 2.0]})
        assert "\n" not in str(error.value)
        return
    if kind == "sigmas":
        times = np.array([0.9, 0.6, 0.3, 0.1] if name in FLOWS else [9.0, 4.0, 1.0, 0.2])
    else:
        times = [860, 610, 320, 110]
    if (name, kind) in (("unipc", "sigmas"), ("flow dpm++", "timesteps")) and wrapper not in ("ode", "sde"):
        for one in (theirs, ours):  # in their signatures, but these two cannot
            with pytest.raises((ValueError, TypeError), match=r"only supported when|unsupported operand"):
                one.set_timesteps(**{kind: times})
        return
    check(wrapper, ours, theirs, **{kind: times})


def noised(scheduler, call):
    """A clean sample noised to the time of a model call, as image-to-image and inpainting pipelines do."""
    times = scheduler.timesteps[call : call + 1]
    if not isinstance(scheduler, FlowMatchHeunDiscreteScheduler):  # knows one time for all rows
        times = times.repeat(ROWS)
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(random(1), times, random(2))
    return scheduler.add_noise(random(1), random(2), times)


@EVERY
def test_noise_is_added_as_the_child_does_before_and_after_a_step(wrapper, name):
    ours, theirs = wrap(wrapper, stock(name)), reference(wrapper, name)
    assert {hasattr(ours, method) for method in ("add_noise", "scale_noise")} == {True, False}
    if wrapper == "two windows":
        ours.set_window(0, 3)
    x = random(0)
    for one in (ours, theirs):
        one.set_timesteps(STEPS)
    for call in range(3):  # ours may show shifted times, which stand for the grid's
        expected = noised(theirs, call)
        assert torch.equal(noised(ours, call), expected)
        outs = []
        for one in (ours, theirs):
            t = one.timesteps[call]
            outs.append(one.step(toy(scaled(one, x, t), 500), t, x, return_dict=False, **extra(one, generators()))[0])
        torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-5)
        x = outs[1]


@EVERY
def test_image_to_image(wrapper, name):
    ours, theirs = wrap(wrapper, stock(name)), reference(wrapper, name)
    if wrapper == "two windows":
        ours.set_window(0, STEPS - 2)
        loop(ours, random(0), generators(), num_inference_steps=STEPS)
        ours.set_window(STEPS - 2)
        with pytest.raises(ValueError, match="only runs from noise can be resumed"):
            ours.set_begin_index(2)
        return
    check(wrapper, ours, theirs, first=2 * getattr(theirs, "order", 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EVERY
def test_what_a_step_returns(wrapper, name, dtype):
    """The class and fields of the child's, in its dtype."""
    outs = []
    for one in (wrap(wrapper, stock(name)), reference(wrapper, name)):
        one.set_timesteps(STEPS, device="cpu")
        x, t = random(0).to(dtype), one.timesteps[0]
        outs.append(one.step(toy(scaled(one, x, t), 500), t, x, **extra(one, generators())))
    ours, theirs = outs
    if wrapper == "sde":
        theirs = {"prev_sample": theirs[0].to(dtype)}
    elif wrapper != "ode":
        assert type(ours) is type(theirs)
        assert ours.keys() == theirs.keys()
    assert ours["prev_sample"].dtype == theirs["prev_sample"].dtype
    tolerance = 1e-2 if wrapper == "sde" else 0
    torch.testing.assert_close(ours["prev_sample"], theirs["prev_sample"], rtol=tolerance, atol=tolerance)
