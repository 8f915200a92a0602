"""The stages of distillation as tasks of the training loop: what is trained, and the loss of a batch.

| stage | what it learns |
|---|---|
| `tsm` | a denoiser: the teacher's prediction at any time |
| `ode` | a generator: the ends of the teacher's ODE |
| `dm` | a generator: the teacher's distribution |
| `adm` | the same, and to pass for real data |

In `dm` and `adm` a step of the loop is the fake score's or the student's by its number, so that one optimiser, one
checkpoint and one average hold all, and a killed run goes on bit-equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..averages import Decay, rising_decay
from ..loop import Figures, Loop
from ..randomness import Randomness, initial_weights
from . import adm, alignment, collapse, decoupled, dm, fake_score, few_steps, ode_pairs, tsm
from .denoiser import Condition, Denoiser
from .examples import Data, Drawn, Source

STAGES = ("tsm", "ode", "dm", "adm")
"""In the order of a whole distillation; tsm is for students of another form than the teacher's, ode a warm start."""

MEASURED = 128
"""Samples of an evaluation."""


@dataclass(frozen=True)
class Plan:
    """How a student is made.

    Attributes:
        times: of the student's steps, falling, on the teacher's path; one for a student of one step.
        guidance_scale: of the teacher's predictions; 1 for none.
        rate, fake_rate: learning rates of the student, and of the fake score with its head.
        fake_updates: of the fake score, before each of the student's.
        learned: shares of the path between which teacher score matching draws its times, in [0, 1].
        own: the share of its rows that teacher score matching takes from runs of the student, in [0, 1).
        low, high: those between which distribution matching draws its own.
        decoupled: whether guidance is an augmentation with times of its own.
        alignment: how much the fake score keeps of itself after each update of the student; None: it is left alone.
        adversarial: weight of the adversarial loss, in `adm`.
        redraw: whether fresh noise is put back between a student's steps; False: the predicted one.

    Raises:
        ValueError: for a number out of its range.
    """

    times: tuple[float, ...]
    guidance_scale: float = 1.0
    rate: float = 1e-4
    fake_rate: float = 1e-4
    fake_updates: int = 5
    learned: tuple[float, float] = (0.0, 1.0)
    own: float = 0.0
    low: float = 0.02
    high: float = 0.98
    decoupled: bool = False
    alignment: float | None = None
    adversarial: float = 3e-3
    redraw: bool = True

    def __post_init__(self) -> None:
        if not self.times or list(self.times) != sorted(set(self.times), reverse=True):
            raise ValueError(f"the student's times are {self.times}; give one, or several that fall")
        if self.fake_updates < 1:
            raise ValueError(f"fake_updates is {self.fake_updates}; give at least 1")
        if not 0 < self.low < self.high < 1:
            raise ValueError(f"times are drawn between {self.low} and {self.high}; give 0 < low < high < 1")
        if not 0 <= self.learned[0] < self.learned[1] <= 1:
            raise ValueError(f"tsm draws its times between {self.learned}; give shares of the path, in [0, 1]")
        if not 0 <= self.own < 1:
            raise ValueError(f"own is {self.own}; give the share of tsm's rows from the student's runs, 0 to below 1")
        if self.alignment is not None and not 0 <= self.alignment <= 1:
            raise ValueError(f"alignment is {self.alignment}; give what the fake score keeps, 0 to 1")
        if self.decoupled and self.guidance_scale == 1:
            raise ValueError("the decoupled form needs guidance_scale above 1: at 1 there is no augmentation")

    def period(self, stage: str) -> int:
        """Steps of the loop for each update of the student."""
        return self.fake_updates + 1 if stage in ("dm", "adm") else 1

    def average_decay(self, stage: str, limit: float) -> Decay:
        """Of the moving average, which follows the student's updates alone."""
        period = self.period(stage)
        return lambda update: 1.0 if update % period else rising_decay(update // period, limit, 1, 10)


class Stage(ABC):
    """What the stages share.

    Args:
        student: with the weights of the stage before.
        teacher: in evaluation mode, without gradients; its network is called as a function.
        data: of the student's subset.
        plan: how.
        compiled: whether networks are compiled by torch for the speed.
    """

    def __init__(self, student: nn.Module, teacher: Denoiser, data: Data, plan: Plan, compiled: bool = False):
        self.data, self.plan, self.compiled = data, plan, compiled
        self.networks = nn.ModuleDict({"student": student})
        self.teacher = teacher.of_network(self._fast(teacher.network))
        self.student = teacher.of_network(self._fast(student))
        self.optimizer = self._optimizer([{"params": list(student.parameters()), "lr": plan.rate}])

    @abstractmethod
    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        """The loss of a batch."""

    @abstractmethod
    def evaluate(self, loop: Loop) -> Figures:
        """Figures of the averaged student."""

    def _fast(self, network: Any) -> Callable[..., Any]:
        return torch.compile(network) if self.compiled else network

    def _optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=0.01, fused=True)

    def _draw(self, source: Source, count: int, device: torch.device) -> Drawn:
        x0, condition, noise = self.data.draw(source, count)
        moved = {name: value.to(device) for name, value in condition.items()}
        return Drawn(x0.to(device), moved, None if noise is None else noise.to(device))

    def _null(self, count: int, device: torch.device) -> Condition | None:
        null = self.data.null(count) if self.plan.guidance_scale != 1 else None
        return None if null is None else {name: value.to(device) for name, value in null.items()}

    def _normal(self, source: Source, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=source.generator).to(like)

    def _redraw(self, source: Source) -> few_steps.Redraw | None:
        return (lambda x: self._normal(source, x)) if self.plan.redraw else None

    def _averaged(self, loop: Loop) -> Denoiser:
        return self.student.of_network((loop.average or self.networks)["student"])


class ScoreMatching(Stage):
    """Teacher score matching: times are stratified over the path, x_t is noised data.

    With `Plan.own` a share of the rows is what the student sees in runs of its own, where guidance and its errors take
    it off noised data (the states of the learner: Ross et al., arXiv 1011.0686).
    """

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        count, steps = loop.settings.batch_size, len(self.plan.times)
        runs = round(self.plan.own * count / steps)
        if self.plan.own and not 0 < runs * steps <= count:
            raise ValueError(f"a share {self.plan.own:g} of {count} rows holds no run of {steps} steps; give more rows")
        error = self._error(self.student, loop, loop, count - runs * steps, runs)
        return error, {"tsm": error}

    def evaluate(self, loop: Loop) -> Figures:
        student = self._averaged(loop)
        found = {"validation": self._error(student, loop, Randomness(9), MEASURED)}
        if self.plan.own:
            found["own validation"] = self._error(student, loop, Randomness(9), 0, -(-MEASURED // len(self.plan.times)))
        return found

    def _error(self, student: Denoiser, loop: Loop, source: Source, noised: int, runs: int = 0) -> Tensor:
        """Over rows of noised data, and all the inputs of some of the student's runs."""
        drawn = self._draw(source, noised + runs, loop.device)
        x0, condition = drawn.x0[:noised], {name: value[:noised] for name, value in drawn.condition.items()}
        shares = (torch.arange(noised) + torch.rand(noised, generator=source.generator)) / max(noised, 1)
        first, last = self.plan.learned
        t = self.teacher.time((first + (last - first) * shares).to(x0))
        x_t = self.teacher.noised(x0, self._normal(source, x0), t)
        if runs:
            of_runs = {name: value[noised:] for name, value in drawn.condition.items()}
            noise, times = self._normal(source, drawn.x0[noised:]), self.plan.times
            with torch.no_grad(), loop.autocast():
                inputs = few_steps.inputs(student, noise, times, of_runs, self._redraw(source))
            x_t, t = torch.cat([x_t, *inputs]), torch.cat([t, t.new_tensor(times).repeat_interleave(runs)])
            condition = {name: torch.cat([value, *[of_runs[name]] * len(times)]) for name, value in condition.items()}
        with torch.no_grad(), loop.autocast():
            null = self._null(len(x_t), loop.device)
            wanted = self.teacher.guided(x_t, t, condition, null, self.plan.guidance_scale)
        with loop.autocast():
            said = student.output(x_t, t, condition)
        return tsm.loss(said, wanted)


class Regression(Stage):
    """A warm start: what the student makes of a noise is what the teacher's ODE made of it."""

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        error = self._error(self.student, loop, loop, loop.settings.batch_size)
        return error, {"ode": error}

    def evaluate(self, loop: Loop) -> Figures:
        return {"validation": self._error(self._averaged(loop), loop, Randomness(9), MEASURED)}

    def _error(self, student: Denoiser, loop: Loop, source: Source, count: int) -> Tensor:
        """Of the student's step from one of its times, where the teacher's sample is noised by its own noise."""
        x0, condition, noise = self._draw(source, count, loop.device)
        if noise is None:
            raise ValueError("the ode stage learns ends of the teacher's ODE; give examples with the noise of each")
        times = torch.tensor(self.plan.times, dtype=x0.dtype)
        t = times[torch.randint(len(times), (count,), generator=source.generator)].to(x0)
        first = (t == self.plan.times[0]).reshape(-1, *[1] * (x0.ndim - 1))
        put_back = self._normal(source, x0) if self.plan.redraw else noise
        x_t = torch.where(first, noise, student.noised(x0, put_back, t))
        with loop.autocast():
            made = student.predict(x_t, t, condition).x0
        return ode_pairs.loss(made, x0)


class Matching(Stage):
    """Distribution matching, with the adversarial loss where `adversarial` is set.

    Args:
        student, teacher, data, plan, compiled: as every stage takes them.
        fake: the fake score, with the teacher's weights or those of the stage before.
        width: of the fake score's bottleneck, for the adversarial stage's head; None: there is none.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Denoiser,
        data: Data,
        plan: Plan,
        fake: nn.Module,
        width: int | None = None,
        compiled: bool = False,
    ):
        super().__init__(student, teacher, data, plan, compiled)
        if plan.alignment is not None:
            alignment.check(fake, student)
        self.networks["fake"] = fake
        learned = list(fake.parameters())
        if width is not None:
            with initial_weights(0):
                self.networks["head"] = adm.Head(width)
            learned += list(self.networks["head"].parameters())
        # Features are read by a hook, which a compiled network does not call in time.
        self.fake = teacher.of_network(fake if width is not None else self._fast(fake))
        self.optimizer = self._optimizer(
            [{"params": list(student.parameters()), "lr": plan.rate}, {"params": learned, "lr": plan.fake_rate}]
        )
        self._figures: dict[str, Tensor] = {}
        self._least_error, self._aligned = float("inf"), 0

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        """The student's loss or the fake score's, by the number of the step; the figures are the latest of both."""
        step, updates = loop.progress.step, self.plan.fake_updates
        if fake_score.is_student_turn(step, updates):
            loss, figures = self._student_loss(loop)
        else:
            self._align(step)
            loss, figures = self._fake_loss(loop)
        self._figures |= {name: value.detach() for name, value in figures.items()}
        return loss, dict(self._figures)

    def state_dict(self) -> dict[str, float]:
        """What alarms go by, for `state=` of the loop."""
        return {"least_error": self._least_error}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        self._least_error = state["least_error"]

    def _align(self, step: int) -> None:
        """Once behind each of the student's updates, however many batches a step has."""
        if self.plan.alignment is not None and step and step % self.plan.period("dm") == 0 and step != self._aligned:
            alignment.align(self.networks["fake"], self.networks["student"], self.plan.alignment)
            self._aligned = step

    def evaluate(self, loop: Loop) -> Figures:
        """The spread of samples beside the data's, and alarms."""
        source = Randomness(9)
        x0, condition, _ = self._draw(source, MEASURED, loop.device)
        noise = self._normal(source, x0)
        made = few_steps.generate(self._averaged(loop), noise, self.plan.times, condition, self._redraw(source))
        reference = float(collapse.spread(x0))
        figures: dict[str, Any] = {"spread": collapse.spread(made), "data_spread": reference}
        alarms = [collapse.spread_alarm(made, reference)]
        if "fake" in self._figures:
            error = float(self._figures["fake"])
            self._least_error = min(self._least_error, error)
            alarms.append(collapse.lag_alarm(error, self._least_error))
        if said := "; ".join(alarm for alarm in alarms if alarm):
            figures["alarm"] = said
        return figures

    def _make(self, loop: Loop, x0: Tensor, condition: Condition) -> tuple[Tensor, float]:
        """A batch of the student's samples at one of its steps, and the time of that step.

        The steps before it are the student's own, without gradient (backward simulation, arXiv 2405.14867,
        section 4.5).
        """
        step = int(torch.randint(len(self.plan.times), (), generator=loop.generator))
        noise = self._normal(loop, x0)
        with torch.no_grad(), loop.autocast():
            x = few_steps.input_at(self.student, noise, self.plan.times, step, condition, self._redraw(loop))
        now = self.plan.times[step]
        with loop.autocast():
            made = self.student.predict(x, x.new_full((len(x),), now), condition).x0
        return made, now

    def _times(self, loop: Loop, like: Tensor, high: float | None = None) -> Tensor:
        """Times of distribution matching, one for each row; up to another share of the path where it is given."""
        draws = torch.rand(len(like), generator=loop.generator)
        low, top = self.plan.low, self.plan.high
        if high is None:
            return self.teacher.time((low + (top - low) * draws).to(like))
        shares = decoupled.less_noisy(draws, low, top, torch.full_like(draws, high))
        return self.teacher.time(shares.to(like))

    def _fake_loss(self, loop: Loop) -> tuple[Tensor, dict[str, Tensor]]:
        x0, condition, _ = self._draw(loop, loop.settings.batch_size, loop.device)
        with torch.no_grad():
            made, _ = self._make(loop, x0, condition)
        t, noise = self._times(loop, made), self._normal(loop, made)
        if "head" not in self.networks:
            with loop.autocast():
                error, _ = fake_score.loss(self.fake, made, noise, t, condition)
            return error, {"fake": error}
        with loop.autocast(), adm.features_of(self.networks["fake"]) as features:
            error, _ = fake_score.loss(self.fake, made, noise, t, condition)
            self.fake.output(self.fake.noised(x0, self._normal(loop, x0), t), t, condition)
            of_made, of_real = (self.networks["head"](one) for one in features)
        told = adm.discriminator_loss(of_real.float(), of_made.float())
        return error + self.plan.adversarial * told, {"fake": error, "discriminator": told}

    def _student_loss(self, loop: Loop) -> tuple[Tensor, dict[str, Tensor]]:
        x0, condition, _ = self._draw(loop, loop.settings.batch_size, loop.device)
        made, now = self._make(loop, x0, condition)
        loss = dm.surrogate(made, self._gradient(loop, made.detach(), now, condition))
        figures = {"dm": loss}
        if "head" in self.networks:
            t, noise = self._times(loop, made), self._normal(loop, made)
            network, head = self.networks["fake"], self.networks["head"]
            judge = self.fake.of_network(adm.frozen(network))
            with loop.autocast(), adm.features_of(network) as features:
                judge.output(judge.noised(made, noise, t), t, condition)
                fooled = adm.generator_loss(adm.frozen(head)(features[0]).float())
            loss, figures["adversarial"] = loss + self.plan.adversarial * fooled, fooled
        return loss, figures

    @torch.no_grad()
    def _gradient(self, loop: Loop, made: Tensor, now: float, condition: Condition) -> Tensor:
        """Of the student's samples: the KL's, balanced over the rows, of the guided teacher or in its two parts."""
        scale, null = self.plan.guidance_scale, self._null(len(made), loop.device)
        t = self._times(loop, made)
        x_t = self.teacher.noised(made, self._normal(loop, made), t)
        guided = 1.0 if self.plan.decoupled else scale
        with loop.autocast():
            real = self.teacher.read(self.teacher.guided(x_t, t, condition, null, guided), x_t, t).x0
            fake = self.fake.predict(x_t, t, condition).x0
        found = dm.gradient(fake, real, dm.balanced_weights(made, real))
        if not self.plan.decoupled:
            return found
        if null is None:
            raise ValueError("the decoupled form needs a condition that says nothing, and this teacher has none")
        t = self._times(loop, made, now / self.teacher.last)
        x_t = self.teacher.noised(made, self._normal(loop, made), t)
        with loop.autocast():
            halves = self.teacher.halves(x_t, t, condition, null)
        conditional, unconditional = (self.teacher.read(half, x_t, t).x0 for half in halves)
        weights = dm.balanced_weights(made, conditional)
        return found + decoupled.augmentation(conditional, unconditional, scale, weights)
