"""ZigzagScheduler: steps that go forward, back and forward again, in an unmodified pipeline's loop.

Z-Sampling (Bai et al., arXiv 2412.10891) and its general form W2SD (arXiv 2502.00473): a step with strong guidance, its
inversion with weak guidance, and the step again. To first order the sample then moves by 2 B - A, where B is the strong
field and A the weak one; `rounds` of it by B + rounds (B - A).

Seam: live `timesteps` that hold a model call for each leg, as the pipeline's loop is the only thing that can evaluate
the model; the guidance of each leg is the hook's (`hooks/zigzag.py`), which reads `leg`. The inversion asks the model
at the sample and the time that the step led to, (y, t'), and is exact along the path for that prediction; the released
code asks at the time before the step, an approximation. The last step is left as it is: at its end there is no model
call.
"""

from __future__ import annotations

import copy
from enum import Enum
from typing import Any, ClassVar

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from . import compat
from .clean_prediction import known_path, place_of, prediction_kind
from .interpolants import expand
from .live_timesteps import index_of, position
from .predictions import Prediction
from .wrapped import LiveTimes, Wrapped


class Leg(Enum):
    """What a model call is for."""

    ZIG = "step"
    ZAG = "inversion"
    AGAIN = "the step again"


def moved(prediction: Prediction, path: Any, t: Tensor) -> Tensor:
    """The sample at time t of a path, where clean sample and noise are those of a prediction: alpha x0 + sigma eps.

    DDIM's step (arXiv 2010.02502, eq. 12 with sigma = 0) and, on a rectified flow, Euler's; in either direction.
    """
    return expand(path.alpha(t), prediction.x0) * prediction.x0 + expand(path.sigma(t), prediction.eps) * prediction.eps


def legs(num_steps: int, rounds: int, until: float) -> list[tuple[int, Leg]]:
    """The step and the purpose of each model call of a run.

    Args:
        num_steps: of the run.
        rounds: inversions of each step that zigzags.
        until: share of the steps that do, from the first; the last step never does.
    """
    plan: list[tuple[int, Leg]] = []
    for step in range(num_steps):
        plan.append((step, Leg.ZIG))
        if step < until * num_steps and step + 1 < num_steps:
            plan += [(step, Leg.ZAG), (step, Leg.AGAIN)] * rounds
    return plan


class ZigzagScheduler(LiveTimes):
    """
    A diffusers scheduler whose steps are made, inverted and made again.

    Use `apply_zigzag(pipe)`, which sets it and the hook that gives each leg its guidance. A scheduler of the class
    `solver` makes the steps; with `rounds=0` or `until=0` ours is that scheduler, bit for bit.

    Args:
        solver (`str`, defaults to `"DDIMScheduler"`):
            Class of the child: DDIM's step without noise, in whatever form (Euler, flow Euler, DPM-Solver++ of order
                1).
        rounds (`int`, defaults to 1):
            How often a step is inverted and made again.
        until (`float`, defaults to 1.0):
            Share of the steps, from the first, that zigzag.

    Raises:
        ValueError: for negative rounds, a share outside of [0, 1], and a child that is of higher order or of unknown
            path.
    """

    child_setting: ClassVar[str] = "solver"

    def __init__(self, solver: str = "DDIMScheduler", rounds: int = 1, until: float = 1.0):
        self.begin_new(rounds=rounds, until=until)

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state."""
        self.__plan: list[tuple[int, Leg]] = []
        self.__begin: int | None = None
        super().begin(**settings)

    def check(self) -> None:
        """Check our settings and the child.

        Raises:
            ValueError: with the reason.
        """
        rounds, until, name = self.config.rounds, self.config.until, self.child_kind.__name__
        if rounds < 0 or not 0 <= until <= 1:
            raise ValueError(f"rounds is {rounds} and until {until:g}; give rounds from 0, and a share of the steps")
        if issubclass(self.child_kind, Wrapped):
            raise ValueError(f"zigzag does not go around {name}; give the scheduler that is in it")
        if not self._zigzags:
            return
        if getattr(self.child, "order", 1) != 1 or not compat.takes_one_time(self.child):
            raise ValueError(f"{name} calls the model more than once for a step; zigzag needs a solver of order 1")
        known_path(self.child)

    @property
    def _zigzags(self) -> bool:
        return self.config.rounds > 0 and self.config.until > 0

    @property
    def order(self) -> int:
        """Model calls of a step, by which pipelines count for progress bars and image-to-image runs."""
        whole = self._zigzags and self.config.until == 1
        return 1 + 2 * self.config.rounds if whole else getattr(self.child, "order", 1)

    @property
    def begin_index(self) -> int | None:
        """First model call of an image-to-image run; None where none was set."""
        return getattr(self.child, "begin_index", None) if self.live is None else self.__begin

    @property
    def leg(self) -> Leg:
        """What the model call under way is for."""
        if self.live is None or self.calls is None or self.calls >= len(self.__plan):
            return Leg.ZIG
        return self.__plan[self.calls][1]

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """
        Set the child's times, and the legs on them; arguments are the child's.

        Raises:
            ValueError: where the child's steps are not DDIM's without noise, so that they have no exact inversion.
        """
        self.show(None)
        self.__begin = None
        self.check()
        self.ask_child("set_timesteps", *args, **kwargs)
        if not self._zigzags:
            return
        times = self.child.timesteps
        self.__plan = legs(len(times), self.config.rounds, self.config.until)
        self._check_steps(times)
        self.__numbers = times.tolist()
        places = [step + (leg is Leg.ZAG) for step, leg in self.__plan]
        self.show(times[torch.tensor(places, device=times.device)])

    def set_begin_index(self, begin_index: int = 0) -> None:
        """
        Set the first model call, as image-to-image pipelines do.

        Args:
            begin_index (`int`, defaults to 0): into `timesteps`.

        Raises:
            ValueError: within a step's legs: where only some of the steps zigzag, pipelines cannot count them.
        """
        if self.live is not None:
            self.__begin = begin_index
            begin_index = self._first_step(begin_index)
        if hasattr(self.child_kind, "set_begin_index"):
            self.ask_child("set_begin_index", begin_index)

    def _first_step(self, call: int) -> int:
        step, leg = self.__plan[call]
        if leg is not Leg.ZIG or (call and self.config.until < 1):
            raise ValueError(
                "a run that begins in its midst (image-to-image) can zigzag in all of its steps only: until=1"
            )
        return step

    def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """
        Scale the model's input as the child does at the leg's time.

        Args:
            sample (`torch.Tensor`): the current sample.
            args, kwargs: the child's.
        """
        if self.live is None or not hasattr(self.child_kind, "scale_model_input"):
            return super().scale_model_input(sample, *args, **kwargs)
        call = self.arguments("scale_model_input", (sample, *args), kwargs)
        step, leg = self._at(call.arguments.get("timestep"))
        compat.stand_at(self, step + (leg is Leg.ZAG))
        if call.arguments.get("timestep") is not None:
            call.arguments["timestep"] = self.__numbers[step + (leg is Leg.ZAG)]
        return self.child_kind.scale_model_input(*call.args, **call.kwargs)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """
        One leg.

        Args:
            args, kwargs: the child's: `model_output`, `timestep`, `sample` and others.
        """
        call = self.arguments("step", args, kwargs)
        if self.live is None:
            return self.child_kind.step(*call.args, **call.kwargs)
        step, leg = self._at(call.arguments["timestep"])
        self.calls = (self._first_call(call.arguments["timestep"]) if self.calls is None else self.calls) + 1
        if leg is Leg.ZAG:
            sample = self._inverted(call.arguments["model_output"], call.arguments["sample"], step)
            return SchedulerOutput(prev_sample=sample) if call.arguments.get("return_dict", True) else (sample,)
        compat.stand_at(self, step)
        call.arguments["timestep"] = self.__numbers[step]
        return self.child_kind.step(*call.args, **call.kwargs)

    def _inverted(self, output: Tensor, sample: Tensor, step: int) -> Tensor:
        """The sample before a step whose end is `sample`, by the prediction there."""
        path = known_path(self.child)
        here, t = place_of(self.child, path, step + 1)
        there, before = place_of(self.child, path, step)
        if output.shape[1] == 2 * sample.shape[1]:
            output = output[:, : sample.shape[1]]
        prediction = Prediction.read(prediction_kind(self.child), output, sample, here, t.to(output.device))
        return moved(prediction, there, before.to(output.device)).to(sample.dtype)

    def _at(self, timestep: Any) -> tuple[int, Leg]:
        """Step and leg of the model call under way."""
        return self.__plan[self._first_call(timestep) if self.calls is None else self.calls]

    def _first_call(self, timestep: Any) -> int:
        live = self.timesteps
        found = position(live, timestep)
        if found is None:
            found = self.__begin
        if found is None:
            found = 0 if timestep is None else self.__plan.index((index_of(self.child.timesteps, timestep), Leg.ZIG))
        self._first_step(found)
        return found

    def _check_steps(self, times: Tensor) -> None:
        """Try the child's steps on a small sample: whether they are `moved`, and know nothing of the steps before."""
        name, path = self.child_kind.__name__, known_path(self.child)
        values = torch.linspace(-0.5, 0.5, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
        prediction = Prediction(values, values.flip(-1) * values.flip(-2).cos())
        for step in range(min(2, len(times) - 1)):
            (here, t), (there, after) = (place_of(self.child, path, step + one) for one in (0, 1))
            sample = moved(prediction, here, t.double().cpu())
            output = prediction.write(prediction_kind(self.child), here, t.double().cpu())
            expected = moved(prediction, there, after.double().cpu())
            alone, later = (self._tried(sample, output, range(first, step + 1)) for first in (step, 0))
            reach = 1e-3 * float(expected.abs().max())
            if float((alone - later).abs().max()) > reach or float((alone - expected).abs().max()) > reach:
                raise ValueError(
                    f"a step of this {name} is not DDIM's without noise from one time to the next, so has no inverse; "
                    "use ddim, euler or flow-euler, without noise and with timestep_spacing that they step along"
                )

    def _tried(self, sample: Tensor, output: Tensor, steps: range) -> Tensor:
        """What the last of some steps of a copy of the child makes of a sample."""
        child = object.__new__(self.child_kind)
        state = {
            name: one for name, one in vars(self).items() if not (callable(one) and hasattr(self.child_kind, name))
        }
        child.__dict__ = copy.deepcopy(state)  # without what was put in a method's place on the instance
        stepped = sample
        for index in steps:
            compat.stand_at(child, index)
            time = child.timesteps[index]
            given = {"generator": torch.Generator(time.device).manual_seed(0)} if compat.takes_generator(child) else {}
            if compat.scales_input(child):  # it warns where that was not called
                self.child_kind.scale_model_input(child, sample.float().to(time.device), time)
            arguments = [one.float().to(time.device) for one in (output, sample)]
            stepped = self.child_kind.step(child, arguments[0], time, arguments[1], **given, return_dict=False)[0]
        return stepped.double().cpu()
