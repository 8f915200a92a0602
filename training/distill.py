"""Distil a teacher into students of one or a few steps, stage by stage, on the shared loop.

    tsm (a student of another form)  ->  ode (a warm start)  ->  dm  ->  adm

Each stage of each student is a run of its own in a folder of its own, and begins with the weights that the stage before
left: students train in separate processes or on separate machines (Song et al., arXiv 2410.23274, section 3.2). A stage
that is killed and started again ends bit-equal to one that never stopped.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..pipelines.processes import started
from ..valid_json import to_json
from ..verifiers.identity import hash_weights
from .distillation.denoiser import Denoiser
from .distillation.examples import Data
from .distillation.stages import STAGES, Matching, Plan, Regression, ScoreMatching, Stage
from .loop import Every, Loop
from .loop_settings import LoopSettings
from .schedules import linear_decay, warm_up

WARM_UP_UPDATES = 20
DECAY_SHARE = 0.4


def distil(
    folder: Path,
    stage: str,
    student: Any,
    teacher: Denoiser,
    data: Data,
    plan: Plan,
    updates: int,
    batch_size: int = 64,
    seed: int = 0,
    fake: Any = None,
    average: float = 0.995,
    callbacks: Sequence[Every] = (),
    compiled: bool = False,
    about: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Run a stage of a student, or go on with it.

    Args:
        folder: of this stage's run. The averaged student is left in its folder `student`, the fake score of dm and adm
            in `fake`, both in float32.
        stage: one of `STAGES`.
        student: a model of diffusers, with the weights to begin with.
        teacher: its network in evaluation mode and without gradients.
        data: of the student's subset; for `ode` with the noise of each sample.
        plan: how.
        updates: of the student.
        batch_size: of each process and accumulated part.
        seed: of the run.
        fake: the fake score's model to begin with; None: a copy of the teacher's.
        average: the largest decay of the student's moving average.
        callbacks: of the loop.
        compiled: whether networks are compiled.
        about: what else tells this run from others, JSON.
        settings: further ones of `LoopSettings`, such as `bf16`, `accumulation`, `log_every`; `evaluate_every` counts
            the student's updates.

    Returns:
        the student with the averaged weights, in evaluation mode.

    Raises:
        ValueError: for an unknown stage, or what a stage cannot do with this plan, teacher or data.
        WrongRunError: where the folder holds another run.
        NonFiniteError: where a loss or a gradient is NaN or infinite.
    """
    task = _task(stage, student, teacher, data, plan, fake, compiled)
    period = plan.period(stage)
    every = settings.pop("evaluate_every", 100)
    steps = updates * period
    images = steps * batch_size * settings.get("accumulation", 1) * started().size
    chosen = {"gradient_norm": 1.0, "log_every": 10 * period} | settings
    warm = WARM_UP_UPDATES * period * images // steps
    run = LoopSettings(
        images,
        batch_size,
        seed,
        schedule=lambda progress: warm_up(progress, warm) * linear_decay(progress, DECAY_SHARE, least=1e-3),
        average_decay=plan.average_decay(stage, average),
        evaluate_every=every * period,
        about={"stage": stage, **_described(plan), "begins": hash_weights(student), **(about or {})},
        **chosen,
    )
    loop = Loop(folder, task, run, callbacks, state={"stage": task} if isinstance(task, Matching) else {})
    if isinstance(teacher.network, nn.Module):
        teacher.network.to(loop.device)
    loop.run()
    _keep(loop, task, folder)
    return loop.average["student"]


def _task(stage: str, student: Any, teacher: Denoiser, data: Data, plan: Plan, fake: Any, compiled: bool) -> Stage:
    """The task of a stage."""
    student.eval().requires_grad_(True)  # in training mode a DiT drops labels by the global generator
    if stage == "tsm":
        return ScoreMatching(student, teacher, data, plan, compiled)
    if stage == "ode":
        return Regression(student, teacher, data, plan, compiled)
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known: {', '.join(STAGES)}")
    if fake is None:
        fake = _copy(teacher.network)
    fake.eval().requires_grad_(True)
    return Matching(student, teacher, data, plan, fake, _width(fake) if stage == "adm" else None, compiled)


def _copy(network: Any) -> Any:
    """The fake score begins as the teacher.

    Raises:
        ValueError: where the teacher is no module.
    """
    if not isinstance(network, nn.Module):
        raise ValueError("a teacher that is a function cannot be copied; give the fake score to begin with")
    return copy.deepcopy(network)


def _width(network: Any) -> int:
    """Of the features that the adversarial head reads."""
    return int(getattr(network, "inner_dim", None) or network.config.block_out_channels[-1])


def _described(plan: Plan) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in json.loads(to_json(asdict(plan))).items()}


@torch.no_grad()
def _keep(loop: Loop, task: Stage, folder: Path) -> None:
    """Leave the averaged student, and the fake score as it is."""
    if started().rank:
        return
    kept = {"student": loop.average["student"]}
    if "fake" in task.networks:
        kept["fake"] = task.networks["fake"]
    for name, network in kept.items():
        if hasattr(network, "save_pretrained"):
            network.save_pretrained(folder / name)
