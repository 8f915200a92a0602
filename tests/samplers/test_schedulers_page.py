"""The scheduler of a user's own as docs/schedulers.md has it."""

import re
from pathlib import Path

import pytest
import samplesmith
import scheduler_runs
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from samplesmith.samplers import (
    DiffusionSDEScheduler,
    FlowSDEScheduler,
    SteeredScheduler,
    SuperposedScheduler,
    TimeShiftScheduler,
    WindowedScheduler,
    by_name,
)
from samplesmith.samplers.wrapped import OURS

PAGE = (Path(samplesmith.__file__).parent / "docs/schedulers.md").read_text()
OPENING, DEFINITION, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SOLVERS = [DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler]
STEPS = 6


@pytest.fixture
def momentum():
    scope = {"__name__": "momentum"}
    exec(DEFINITION, scope)
    yield scope["MomentumScheduler"]
    del OURS["MomentumScheduler"]


def run(scheduler, x):
    return scheduler_runs.loop(
        scheduler,
        x,
        lambda x, t: torch.sin(2 * x) * t / 1000,
        torch.Generator().manual_seed(0),
        num_inference_steps=STEPS,
    )


def start(rows=3):
    return torch.randn(rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_the_page_runs_as_it_is_written(momentum):
    scope = {"MomentumScheduler": momentum}
    exec(OPENING, scope)
    exec(USE, scope)
    pipe, images = scope["pipe"], scope["images"]
    assert isinstance(pipe.scheduler.child, momentum)
    assert isinstance(pipe.scheduler, samplesmith.FlowSDEScheduler)  # that one was set before

    def again(scheduler):
        pipe.scheduler = scheduler
        draw = torch.Generator().manual_seed(0)
        return pipe("two cats on blue", generator=draw, **scope["arguments"]).images

    still = again(momentum.from_scheduler(scope["stock"], momentum=0.0))
    assert torch.equal(again(scope["stock"]), still)
    assert not torch.allclose(images, still, atol=1e-3)


@pytest.mark.parametrize("kind", SOLVERS)
def test_it_is_the_child_without_momentum_and_another_with_it(momentum, kind):
    stock = run(kind(), start())
    assert torch.equal(run(momentum.from_scheduler(kind(), momentum=0.0), start()), stock)
    moved = momentum.from_scheduler(kind(), momentum=0.3)
    first = run(moved, start())
    assert not torch.allclose(first, stock, atol=1e-3)
    assert torch.equal(run(moved, start()), first), "a run begins anew"


@pytest.mark.parametrize("kind", SOLVERS)
def test_its_rows_go_on_alone_after_a_pause(momentum, kind, tmp_path):
    whole = run(momentum.from_scheduler(kind(), momentum=0.3), start())
    windowed = WindowedScheduler.from_scheduler(momentum.from_scheduler(kind(), momentum=0.3), stop=3)
    x = run(windowed, start())
    windowed.keep_rows([2, 0])
    windowed.set_window(3)
    torch.testing.assert_close(run(windowed, x[[2, 0]]), whole[[2, 0]], rtol=1e-5, atol=1e-6)


def test_it_is_saved_checked_and_named_like_ours(momentum, tmp_path, monkeypatch):
    monkeypatch.setitem(by_name.SCHEDULERS, "momentum", momentum)
    made = by_name.make_scheduler("momentum:momentum=0.3", EulerDiscreteScheduler())
    made.save_pretrained(tmp_path)
    loaded = momentum.from_pretrained(tmp_path)
    assert (type(loaded), loaded.config.momentum) == (type(made), 0.3)
    assert isinstance(loaded, EulerDiscreteScheduler)
    assert torch.equal(run(loaded, start()), run(made, start()))
    with pytest.raises(ValueError, match="momentum is 2; give more than -1"):
        by_name.make_scheduler("momentum:momentum=2", DDIMScheduler())
    with pytest.raises(ValueError, match="momentum has momentum=wide; give a number"):
        by_name.make_scheduler("momentum:momentum=wide", DDIMScheduler())


def test_the_page_is_short_and_names_every_scheduler():
    assert len([line for line in DEFINITION.splitlines() if line.strip()]) <= 30
    named = re.findall(r"^\| `(\w+)`.*?(?:`([\w-]+)` )?\|$", PAGE, re.MULTILINE)
    ours = (
        DiffusionSDEScheduler,
        FlowSDEScheduler,
        SteeredScheduler,
        SuperposedScheduler,
        TimeShiftScheduler,
        WindowedScheduler,
    )
    assert {name for name, _ in named} == {cls.__name__ for cls in ours}
    assert {short for _, short in named if short} == set(by_name.SCHEDULERS)
