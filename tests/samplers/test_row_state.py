"""Rows that go on alone or with those of other batches: which tables are theirs, and what is refused."""

import pytest
import scheduler_runs
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from samplesmith.samplers import TimeShiftScheduler, WindowedScheduler

STEPS, ROWS = 7, 3


def loop(scheduler, x, **times):
    return scheduler_runs.loop(scheduler, x, lambda x, t: x * (t / (t + 1000)), scales=False, **times)


def start(rows=ROWS):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_tables_as_long_as_the_batch_are_not_cut():
    scheduler = WindowedScheduler.from_scheduler(EulerDiscreteScheduler(), stop=4)
    rows = STEPS + 1  # as many as sigmas
    x = loop(scheduler, start(rows), num_inference_steps=STEPS)
    before = scheduler.sigmas.clone()
    assert len(before) == rows
    scheduler.keep_rows([0, 5])
    assert torch.equal(scheduler.sigmas, before)
    scheduler.set_window(4)
    rest = loop(scheduler, x[[0, 5]], num_inference_steps=STEPS)
    assert torch.allclose(rest, loop(EulerDiscreteScheduler(), start(rows), num_inference_steps=STEPS)[[0, 5]])


@pytest.mark.parametrize("rows", [[], [0, 0], [3], [-1]])
def test_rows_that_are_not_there(rows):
    scheduler = WindowedScheduler.from_scheduler(DDIMScheduler(), stop=2)
    with pytest.raises(ValueError, match="no step was made yet"):
        scheduler.keep_rows([0])
    loop(scheduler, start(), num_inference_steps=STEPS)
    with pytest.raises(ValueError, match="give different ones from 0 to 2"):
        scheduler.keep_rows(rows)


def test_runs_that_cannot_be_joined():
    runs = [WindowedScheduler.from_scheduler(DDIMScheduler(), stop=stop) for stop in (2, 3)]
    for run in runs:
        loop(run, start(), num_inference_steps=STEPS)
    with pytest.raises(ValueError, match=r"the runs stand at calls \[2, 3\]"):
        WindowedScheduler.joined([(run, [0]) for run in runs])
    shifts = []
    for k in (1, 5):
        shift = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=200, cutoff=0)
        shifts.append(WindowedScheduler.from_scheduler(shift, stop=2))
        loop(shifts[-1], k * start(), num_inference_steps=STEPS)
    with pytest.raises(ValueError, match="the batches stand at different times"):
        WindowedScheduler.joined([(run, [0]) for run in shifts])


def test_noise_of_a_whole_batch():
    """As DPMSolverSDEScheduler has it, whose Brownian tree needs a package that is not always there."""

    class Brownian(DDIMScheduler):
        noise_sampler = "a tree over the whole batch"

    scheduler = WindowedScheduler.from_scheduler(Brownian(), stop=2)
    loop(scheduler, start(), num_inference_steps=STEPS)
    with pytest.raises(ValueError, match="Brownian draws the noise of a whole batch"):
        scheduler.keep_rows([0])
