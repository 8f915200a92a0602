"""The training loop on a task with a known optimum: what a step is, what a checkpoint keeps, what is refused."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from least_squares import BATCH, OPTIMUM, LeastSquares, Pool, settings, train
from samplesmith.training.checkpoints import WrongRunError
from samplesmith.training.loop import Every, Loop, NonFiniteError
from samplesmith.training.loop_settings import LoopSettings
from samplesmith.training.randomness import Randomness
from samplesmith.training.schedules import linear_decay, warm_up

SCRIPT = Path(__file__).parent.parent / "least_squares.py"


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def kept(folder):
    """All that a checkpoint keeps but the minutes."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]
    return {name: value for name, value in state.items() if name != "seconds"}


def assert_equal(a, b, path=""):
    """Bit by bit, however they are nested."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for name in a:
            assert_equal(a[name], b[name], f"{path}.{name}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}.{i}")
    else:
        assert a == b, path


class StopError(Exception):
    pass


def stop_after(step):
    """A callback that ends the process, as far as the loop can tell: after the step, before its checkpoint."""

    def stop(loop):
        if loop.progress.step == step:
            raise StopError

    return Every(1, stop)


def test_gradient_descent_finds_the_known_optimum(tmp_path):
    task = LeastSquares(torch.optim.SGD, lr=0.1)
    loop = train(tmp_path, 120, task, evaluate_every=40, average_decay=None)
    assert torch.allclose(task.networks.weight[0], OPTIMUM, atol=1e-4)
    distances = [entry["distance"] for entry in entries(tmp_path) if "distance" in entry]
    assert len(distances) == 3
    assert distances[-1] < 1e-4
    assert loop.average is None


def test_steps_learning_rate_and_average_are_their_formulas(tmp_path):
    """w <- w - rate(k) 2/n X^T (X w - y), average <- d(n) average + (1 - d(n)) w, from the batches that were drawn."""
    task = LeastSquares(torch.optim.SGD, lr=0.1)
    steps = 12
    loop = train(
        tmp_path,
        steps,
        task,
        schedule=lambda progress: warm_up(progress, 4 * BATCH) * linear_decay(progress, 0.5),
        average_decay=lambda update: min(0.8, update / (3 + update)),
    )
    weights, average = torch.zeros(3), torch.zeros(3)
    for k, x in enumerate(task.batches):
        rate = 0.1 * min(1, (k + 1) / 4) * min(1, (1 - k / steps) / 0.5)
        weights = weights - rate * 2 / BATCH * x.T @ (x @ weights - x @ OPTIMUM)
        decay = min(0.8, (k + 1) / (4 + k))
        average = decay * average + (1 - decay) * weights
    assert len(task.batches) == steps
    assert torch.allclose(task.networks.weight[0], weights, atol=1e-5)
    assert torch.allclose(loop.average.weight[0], average, atol=1e-5)
    assert not loop.average.weight.requires_grad
    assert not loop.average.training


def test_gradients_are_clipped_to_their_norm(tmp_path):
    """A step of SGD is as long as its learning rate times the largest norm."""
    task = LeastSquares(torch.optim.SGD, lr=0.1)
    train(tmp_path, 1, task, schedule=lambda progress: 1.0, gradient_norm=0.25)
    assert task.networks.weight.norm().item() == pytest.approx(0.025, rel=1e-4)


def test_accumulated_batches_are_one_batch(tmp_path):
    """The mean over two batches of 8 is a batch of 16, and a step counts them both."""
    parts, whole = LeastSquares(torch.optim.SGD), LeastSquares(torch.optim.SGD)
    loop = Loop(tmp_path / "parts", parts, settings(8, accumulation=2))
    loop.run()
    assert loop.progress.step == 4
    assert len(parts.batches) == 8
    joined = iter([torch.cat(parts.batches[i : i + 2]) for i in range(0, 8, 2)])
    whole.loss = lambda loop: ((whole.networks(x := next(joined))[:, 0] - x @ OPTIMUM).square().mean(), {})
    Loop(tmp_path / "whole", whole, settings(4, schedule=lambda progress: warm_up(progress, 10 * BATCH / 2))).run()
    assert torch.allclose(parts.networks.weight, whole.networks.weight, atol=1e-6)


def test_a_run_goes_on_bit_equal_from_every_prefix(tmp_path):
    """Optimiser, average, both generators and the pool that is used for three batches: all of it is kept."""
    train(tmp_path / "whole", 8)
    for step in range(1, 9):
        folder = tmp_path / f"cut_{step}"
        with pytest.raises(StopError):
            train(folder, 8, callbacks=[stop_after(step)])
        train(folder, 8)
        assert_equal(kept(folder), kept(tmp_path / "whole"), f"stopped after step {step}")


def test_a_run_between_checkpoints_makes_its_steps_again(tmp_path):
    train(tmp_path / "whole", 9, evaluate_every=4)
    with pytest.raises(StopError):
        train(tmp_path / "cut", 9, callbacks=[stop_after(7)], evaluate_every=4)
    resumed = train(tmp_path / "cut", 9, evaluate_every=4)
    assert_equal(kept(tmp_path / "cut"), kept(tmp_path / "whole"))
    assert len(resumed.task.batches) == 5
    steps = [entry["step"] for entry in entries(tmp_path / "cut") if "loss" in entry]
    assert steps == list(range(1, 10))  # what was logged behind the checkpoint was cut


def test_rubbish_of_a_killed_process_is_passed_over(tmp_path):
    """Half of a checkpoint beside the whole one, half of a line in the log."""
    train(tmp_path / "whole", 4)
    with pytest.raises(StopError):
        train(tmp_path / "cut", 4, callbacks=[stop_after(3)])
    (tmp_path / "cut/checkpoint.part").write_bytes(b"PK\x03\x04 torn")
    with (tmp_path / "cut/log.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')
    train(tmp_path / "cut", 4)
    assert_equal(kept(tmp_path / "cut"), kept(tmp_path / "whole"))
    assert [entry["step"] for entry in entries(tmp_path / "cut") if "loss" in entry] == [1, 2, 3, 4]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    train(tmp_path, 3)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again = train(tmp_path, 3)
    assert again.task.batches == []
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert entries(tmp_path)[-1]["resumed"] == "yes"


def test_a_run_may_be_given_another_end(tmp_path):
    """The learning rate is that of the new end at once."""
    loop = train(tmp_path, 4, schedule=lambda progress: linear_decay(progress, 1.0))
    assert loop.task.optimizer.param_groups[0]["lr"] == 0
    task = LeastSquares()
    longer = Loop(
        tmp_path, task, settings(8, schedule=lambda progress: linear_decay(progress, 1.0)), (), {"pool": task.pool}
    )
    assert task.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 / 2)
    assert entries(tmp_path)[-1]["total_images"] == 8 * BATCH
    longer.run()
    assert longer.progress.step == 8


@pytest.mark.slow
def test_a_run_that_is_killed_ends_bit_equal(tmp_path):
    """SIGKILL, wherever the process is, three times in one run."""
    steps = 400
    command = [sys.executable, str(SCRIPT), None, str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    quiet = {"stdout": subprocess.DEVNULL, "env": environment}
    subprocess.run([*command[:2], whole, command[3]], check=True, **quiet)
    made = 0
    for share in (0.1, 0.35, 0.6):
        with subprocess.Popen([*command[:2], cut, command[3]], **quiet) as process:
            while made < share * steps:
                assert process.poll() is None
                time.sleep(0.01)
                log = cut / "log.jsonl"
                made = log.read_text().count('"loss"') if log.exists() else 0
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    subprocess.run([*command[:2], cut, command[3]], check=True, **quiet)
    assert_equal(kept(cut), kept(whole))
    assert sum("resumed" in entry for entry in entries(cut)) == 3
    assert [entry["step"] for entry in entries(cut) if "loss" in entry] == list(range(1, steps + 1))


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    """Each draws rows of its own, their gradients are averaged, and a stopped pair goes on bit-equal."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517", str(SCRIPT)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for folder, steps in (("whole", 8), ("cut", 4), ("cut", 8)):
        subprocess.run([*launch, tmp_path / folder, str(2 * steps)], check=True, env=environment)
    saved = kept(tmp_path / "whole")
    assert_equal(kept(tmp_path / "cut"), saved)
    assert saved["images"] == 8 * 2 * BATCH
    assert [entry["step"] for entry in entries(tmp_path / "whole") if "loss" in entry] == list(range(1, 9))

    one, draws = LeastSquares(), [(Randomness(3, process), Pool()) for process in range(2)]

    def loss(loop):
        x = torch.cat([drawn.rng.uniform(0.5, 1.5) * pool.draw(drawn, BATCH) for drawn, pool in draws])
        return (one.networks(x)[:, 0] - x @ OPTIMUM).square().mean(), {}

    one.loss = loss
    Loop(tmp_path / "one", one, LoopSettings(**{**vars(settings(16)), "batch_size": 2 * BATCH})).run()
    assert torch.allclose(one.networks.weight, saved["networks"]["weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"about": {"recipe": "other"}}, "recipe was None, now 'other'"),
        ({"accumulation": 2}, "accumulation was 1, now 2"),
        ({"average_decay": None}, "average was True, now False"),
        ({"bf16": True}, "bf16 was False, now True"),
    ],
    ids=["seed", "recipe", "accumulation", "average", "precision"],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changes, difference):
    train(tmp_path, 2)
    before = (tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(WrongRunError, match=f"checkpoint.pt belongs to another run: {difference}. Give the settings"):
        train(tmp_path, 2, **changes)
    assert ((tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "log.jsonl").read_bytes()) == before


def test_another_learning_rate_is_another_run(tmp_path):
    train(tmp_path, 2)
    with pytest.raises(WrongRunError, match=r"learning rates\[0\] was 0.05, now 0.1\."):
        train(tmp_path, 2, LeastSquares(lr=0.1))


@pytest.mark.parametrize("broken", ["loss", "gradient", "figure"])
def test_what_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path, broken):
    """The gradient of sqrt at 0 is infinite, and 0 times that NaN, while the loss is 0: silent but for the check."""

    class Breaks(LeastSquares):
        def loss(self, loop):
            loss, figures = super().loss(loop)
            if loop.progress.step == 2:
                if broken == "loss":
                    loss = loss * math.nan
                elif broken == "gradient":
                    loss = loss + (0 * self.networks.weight).sqrt().sum()
            return loss, figures

        def evaluate(self, loop):
            return {"distance": math.inf if broken == "figure" and loop.progress.step == 3 else 1.0}

    expected = {
        "loss": r"the loss of step 3 is nan \(loss .+\); the last checkpoint stands in .+lower the learning rate",
        "gradient": r"the loss of step 3 is .+, but its gradient is not finite in weight; the last checkpoint stands",
        "figure": "distance is inf after step 3; the last checkpoint stands",
    }
    with pytest.raises(NonFiniteError, match=expected[broken]):
        train(tmp_path, 5, Breaks())
    train(tmp_path / "good", 2)
    good = kept(tmp_path / "good")
    assert_equal({**kept(tmp_path), "total_images": 0}, {**good, "total_images": 0})


def test_the_weights_are_not_stepped_by_a_broken_gradient(tmp_path):
    task = LeastSquares()
    task.loss = lambda loop: ((0 * task.networks.weight).sqrt().sum(), {})
    with pytest.raises(NonFiniteError, match="no checkpoint yet"):
        train(tmp_path, 2, task)
    assert torch.equal(task.networks.weight, torch.zeros(1, 3))


def test_callbacks_run_when_they_are_due_and_before_the_checkpoint(tmp_path):
    seen = []

    def see(loop):
        assert not torch.is_grad_enabled()
        saved = kept(tmp_path)["images"] if loop.checkpoint_file.exists() else 0
        seen.append((loop.progress.step, saved // BATCH))

    train(tmp_path, 7, callbacks=[Every(3, see, at_end=True)])
    assert seen == [(3, 2), (6, 5), (7, 6)]


def test_bf16_is_opt_in(tmp_path):
    dtypes = []

    class Seen(LeastSquares):
        def loss(self, loop):
            with loop.autocast():
                dtypes.append(self.networks(torch.ones(1, 3)).dtype)
            return super().loss(loop)

    train(tmp_path / "full", 1, Seen())
    train(tmp_path / "half", 1, Seen(), bf16=True)
    assert dtypes == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accumulation": 0}, "accumulation is 0; a whole number of at least 1"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"gradient_norm": 0.0}, "gradient_norm is 0.0; a number above 0"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        settings(4, **changes)
