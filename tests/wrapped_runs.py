"""Schedulers around a child in each form, and a run of them that needs no pipeline."""

import pytest
import torch
from samplesmith.samplers import TimeShiftScheduler, WindowedScheduler

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unshifted(scheduler):
    return TimeShiftScheduler.from_scheduler(scheduler, window=0)


def whole(scheduler):
    return WindowedScheduler.from_scheduler(scheduler)


def both(scheduler):
    return whole(unshifted(scheduler))


WRAPS = {"time shift": unshifted, "windowed": whole, "windowed around time shift": both}
every_wrap = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)


def pair(*shape):
    return torch.randn(2, *(shape or (2, 4, 4, 4)), generator=torch.Generator().manual_seed(5)).unbind()


def loop(scheduler, steps=4, **extra):
    """A run with a model that is a fixed multiple of its input."""
    scheduler.set_timesteps(steps)
    x, _ = pair()
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(0.7 * scaled, t, x, return_dict=False, **extra)[0]
    return x
