"""Every scheduler of ours around every kind of diffusers' own."""

import copy
import functools
import itertools

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from diffusers.utils import is_scipy_available
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler

STEPS, SHIFT = 6, 3.0
WINDOW, CUTOFF, NORM = 40, 500, 2.0
"""The first two are TimeShiftScheduler's defaults."""

BETAS = {"num_train_timesteps": 900, "beta_schedule": "scaled_linear"}
FLOW_SOLVER = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": SHIFT}
DIFFUSIONS = {
    "ddim": (DDIMScheduler, BETAS),
    "ddpm": (DDPMScheduler, BETAS),
    "pndm": (PNDMScheduler, BETAS),
    "pndm without Runge-Kutta": (PNDMScheduler, BETAS | {"skip_prk_steps": True}),
    "dpm++": (DPMSolverMultistepScheduler, BETAS),
    "dpm++ sde": (DPMSolverMultistepScheduler, BETAS | {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++ singlestep": (DPMSolverSinglestepScheduler, BETAS),
    "deis": (DEISMultistepScheduler, BETAS),
    "unipc": (UniPCMultistepScheduler, BETAS),
    "sa-solver": (SASolverScheduler, BETAS),
    "euler": (EulerDiscreteScheduler, BETAS),
    "euler ancestral": (EulerAncestralDiscreteScheduler, BETAS),
    "heun": (HeunDiscreteScheduler, BETAS),
    "kdpm2": (KDPM2DiscreteScheduler, {"num_train_timesteps": 100}),  # as many logarithms as entries, squared
    "kdpm2 ancestral": (KDPM2AncestralDiscreteScheduler, {"num_train_timesteps": 100}),
    "lcm": (LCMScheduler, BETAS),
    "tcd": (TCDScheduler, BETAS),
}
if is_scipy_available():  # it integrates by scipy
    DIFFUSIONS["lms"] = (LMSDiscreteScheduler, BETAS)
FLOWS = {
    "flow euler": (FlowMatchEulerDiscreteScheduler, {"shift": SHIFT}),
    "flow heun": (FlowMatchHeunDiscreteScheduler, {"shift": SHIFT}),
    "flow lcm": (FlowMatchLCMScheduler, {"shift": SHIFT}),
    "flow dpm++": (DPMSolverMultistepScheduler, FLOW_SOLVER),
    "flow unipc": (UniPCMultistepScheduler, FLOW_SOLVER),
}
CHILDREN = DIFFUSIONS | FLOWS

WRAPPERS = {
    "shift of window 0": (TimeShiftScheduler, {"window": 0}),
    "shift": (TimeShiftScheduler, {}),
    "whole run": (WindowedScheduler, {}),
    "two windows": (WindowedScheduler, {}),
    "ode": (FlowSDEScheduler, {}),
    "sde": (FlowSDEScheduler, {"diffusion": "square", "norm": NORM}),
}
REFUSED = {
    ("shift", name): "is of order 2; time shift needs a solver of order 1" for name in CHILDREN if "heun" in name
}
REFUSED |= {("shift", name): "is of order 2; time shift needs" for name in ("kdpm2", "kdpm2 ancestral")}
REFUSED |= {
    (wrapper, name): "is no flow-matching scheduler; FlowSDEScheduler samples"
    for wrapper in ("ode", "sde")
    for name in DIFFUSIONS
}
PAIRS = [pair for pair in itertools.product(WRAPPERS, CHILDREN) if pair not in REFUSED]


@functools.cache
def made(name):
    kind, config = CHILDREN[name]
    return kind(**config)


def stock(name):
    return copy.deepcopy(made(name))


def wrap(wrapper, child):
    cls, settings = WRAPPERS[wrapper]
    return cls.from_scheduler(child, **settings)


def toy(x, t):
    """A model: smooth, not linear, and of the time too."""
    return (0.2 + 0.6 * float(t) / 1000) * x + 0.1 * torch.sin(3 * x)
