"""The stages on a world in the plane whose teacher is exact: what they reach, what is kept, what is refused."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from distilled_worlds import TEACHER, WORLD, Plane, examples, mode_shares
from samplesmith.training.distill import distil
from samplesmith.training.distillation import few_steps
from samplesmith.training.distillation.stages import Plan, ScoreMatching
from samplesmith.training.loop import Loop
from samplesmith.training.randomness import Randomness
from stopped_runs import StopError, assert_same_weights, stop_at
from torch.nn.utils import parameters_to_vector

ONE_STEP = Plan((1.0,), fake_updates=2)
RUNS = {
    "tsm": ("tsm", ONE_STEP, examples()),
    "tsm on the student's runs": ("tsm", Plan((1.0, 0.5), own=0.5, redraw=False), examples()),
    "ode": ("ode", Plan((1.0, 0.5)), examples(paired=True)),
    "dm": ("dm", ONE_STEP, examples()),
    "dm of two steps": ("dm", Plan((1.0, 0.5), fake_updates=2), examples()),
    "adm": ("adm", ONE_STEP, examples()),
    "decoupled and aligned": (
        "dm",
        Plan((1.0,), guidance_scale=2.0, fake_updates=2, decoupled=True, alignment=0.9),
        examples(labelled=True),
    ),
}


def run(folder, stage, plan, data, updates=4, **settings):
    """Networks are new in each call, as in a process of its own."""
    chosen = {"batch_size": 8, "checkpoint_every": 1, "evaluate_every": 2, "cpu": True} | settings
    return distil(folder, stage, Plane(16), TEACHER, data, plan, updates, fake=Plane(16, seed=1), **chosen)


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_stage_ends_with_the_same_weights(tmp_path, monkeypatch, name):
    """Stopped where it is the fake score's turn, and where it is the student's."""
    stage, plan, data = RUNS[name]
    whole = run(tmp_path / "whole", stage, plan, data)
    batches = 4 * plan.period(stage)
    for stopped in {2, batches // 2}:
        folder = tmp_path / f"stopped at {stopped}"
        with monkeypatch.context() as patch:
            stop_at(patch, stopped * 8)
            with pytest.raises(StopError):
                run(folder, stage, plan, data)
        assert_same_weights(whole, run(folder, stage, plan, data))


def test_each_step_trains_one_of_the_two(tmp_path, monkeypatch):
    """Two of the fake score's, one of the student's; the average moves with the student alone."""
    moved = []
    step = Loop._step

    def watched(loop):
        def state():
            nets = {**loop.task.networks, "average": loop.average["student"]}
            return {name: parameters_to_vector(net.parameters()).detach().clone() for name, net in nets.items()}

        before = state()
        figures = step(loop)
        moved.append({name for name, values in state().items() if not torch.equal(before[name], values)})
        return figures

    monkeypatch.setattr(Loop, "_step", watched)
    run(tmp_path, "dm", ONE_STEP, examples(), updates=2)
    assert moved == [{"fake"}, {"fake"}, {"student", "average"}] * 2


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dm", "adm"])
def test_a_small_generator_converges_to_the_mixture(tmp_path, stage):
    """In one step: each mode's weight within five points."""
    plan = Plan((1.0,), rate=1e-3, fake_rate=2e-3, fake_updates=5)
    student = distil(
        tmp_path, stage, Plane(), TEACHER, examples(20_000), plan, 1000, 256, fake=Plane(seed=1), average=0.98, cpu=True
    )
    noise = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        samples = few_steps.generate(TEACHER.of_network(student), noise, plan.times, {})
    assert (mode_shares(samples) - WORLD.weights).abs().max() < 0.05


@pytest.mark.slow
def test_score_matching_comes_near_the_teacher(tmp_path):
    plan = Plan((1.0,), rate=2e-3)
    student = distil(tmp_path, "tsm", Plane(), TEACHER, examples(20_000), plan, 1500, 256, average=0.98, cpu=True)
    generator = torch.Generator().manual_seed(3)
    x0, _ = WORLD.draw(4000, generator)
    t = torch.rand(4000, generator=generator)
    x_t = TEACHER.noised(x0.float(), torch.randn(4000, 2, generator=generator), t)
    with torch.no_grad():
        said, wanted = TEACHER.of_network(student).output(x_t, t, {}), TEACHER.output(x_t, t, {})
    assert (said - wanted).square().mean() < 0.05 * wanted.square().mean()


def test_own_rows_are_what_the_student_sees_at_the_times_that_the_networks_are_told():
    plan, asked = Plan((1.0, 0.7, 0.4), own=0.5, redraw=False), []

    def teacher(x, timestep, return_dict):
        asked.append((x, timestep))
        return TEACHER.network(x, timestep=timestep, return_dict=return_dict)

    task = ScoreMatching(Plane(8), TEACHER.of_network(teacher), examples(), plan)
    torch.nn.init.normal_(task.networks["student"].last.weight, generator=torch.Generator().manual_seed(1))
    loop = SimpleNamespace(
        **vars(Randomness(0)), device=torch.device("cpu"), autocast=nullcontext, settings=SimpleNamespace(batch_size=12)
    )
    task.loss(loop)
    [(x, t)] = asked
    own = x[6:].chunk(3)
    with torch.no_grad():
        wanted = few_steps.inputs(task.student, own[0], plan.times, {}, None)
    assert torch.allclose(torch.stack(own), torch.stack(wanted), atol=1e-6)
    assert torch.equal(t[6:], torch.tensor(plan.times).repeat_interleave(2))


@pytest.mark.slow
def test_on_its_own_runs_a_student_comes_nearer_to_what_the_teacher_says_there(tmp_path):
    """With as many rows, half of them the inputs of its runs, and without these."""
    times = (1.0, 0.9, 0.8)

    def error(own):
        plan = Plan(times, rate=2e-3, own=own, redraw=False)
        data = examples(20_000)
        student = distil(tmp_path / f"{own}", "tsm", Plane(24), TEACHER, data, plan, 800, 240, average=0.98, cpu=True)
        noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(3))
        network, found = TEACHER.of_network(student), []
        with torch.no_grad():
            for x, time in zip(few_steps.inputs(network, noise, times, {}, None), times, strict=True):
                t = torch.full((len(x),), time)
                found.append((network.output(x, t, {}) - TEACHER.output(x, t, {})).square().mean())
        return float(sum(found))

    assert error(0.5) < 0.7 * error(0.0)


def test_what_a_stage_cannot_do_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="unknown stage 'gan'; known: tsm, ode, dm, adm"):
        run(tmp_path / "a", "gan", ONE_STEP, examples())
    with pytest.raises(ValueError, match=r"a share 0.1 of 8 rows holds no run of 2 steps; give more rows"):
        run(tmp_path / "c", "tsm", Plan((1.0, 0.5), own=0.1), examples())
    with pytest.raises(ValueError, match="own is 1; give the share"):
        Plan((1.0,), own=1)
    with pytest.raises(ValueError, match="give examples with the noise of each"):
        run(tmp_path / "b", "ode", ONE_STEP, examples())
    decoupled = Plan((1.0,), guidance_scale=2.0, decoupled=True, fake_updates=1)
    with pytest.raises(ValueError, match="needs a condition that says nothing"):
        run(tmp_path / "c", "dm", decoupled, examples())
    with pytest.raises(ValueError, match="two forms: leave it out"):
        distil(
            tmp_path / "d", "dm", Plane(16), TEACHER, examples(), Plan((1.0,), alignment=0.9), 1, fake=Plane(32)
        )  # fmt: skip
    with pytest.raises(ValueError, match="a teacher that is a function cannot be copied"):
        distil(tmp_path / "e", "dm", Plane(16), TEACHER, examples(), ONE_STEP, 1)
    with pytest.raises(ValueError, match="holds no example"):
        examples().subset([])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"times": ()}, "give one, or several that fall"),
        ({"times": (0.3, 0.9)}, "give one, or several that fall"),
        ({"fake_updates": 0}, "fake_updates is 0"),
        ({"low": 0.0}, "0 < low < high < 1"),
        ({"learned": (0.5, 0.5)}, "shares of the path"),
        ({"alignment": 1.5}, "0 to 1"),
        ({"decoupled": True}, "guidance_scale above 1"),
    ],
)
def test_a_plan_is_checked_when_it_is_made(wrong, said):
    with pytest.raises(ValueError, match=said):
        Plan(**{"times": (1.0,), **wrong})
