"""A weak model learns what guidance adds on collected steps, and its run goes on as the shared loop's do."""

import json

import pytest
import torch
from samplesmith.models.weak_model import WeakModel
from samplesmith.training import reflect as module
from samplesmith.training.checkpoints import WrongRunError
from samplesmith.training.collected import Index, Items, ShardEntry, Trajectory, write_shard
from samplesmith.training.loop import Every, Loop
from samplesmith.training.reflect import (
    MODEL,
    Reflection,
    ReflectSettings,
    held_out,
    reflect,
    square_errors,
)

SMALL = ReflectSettings((1.0, 5.0), width=16, layers=1, total_items=640, batch_size=16, evaluate_every=20)


def written(folder, items, prompts):
    """A collection of one shard, each trajectory of a prompt of its own."""
    folder.mkdir()
    index = Index(folder)
    index.agree({"made": "by hand"})
    entry = ShardEntry(0, tuple(Trajectory(prompt, prompt, True) for prompt in range(prompts)))
    index.add(write_shard(folder, entry, items), 1)
    return folder


@pytest.fixture
def collection(tmp_path):
    """Steps with a known guidance: what the prompt adds is a pattern times its first number, 1 or -1."""
    prompts, steps = 20, 6
    generator = torch.Generator().manual_seed(0)
    count = prompts * steps
    condition = 0.1 * torch.randn(prompts, 4, generator=generator)
    condition[:, 0] = (-1.0) ** torch.arange(prompts)
    condition = condition.repeat_interleave(steps, 0)
    c, x = torch.randn(2, count, 2, 4, 4, generator=generator)
    added = condition[:, 0].view(-1, 1, 1, 1) * torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    items = Items(
        c - added,
        c,
        x,
        torch.linspace(1000, 100, steps).repeat(prompts),
        torch.arange(steps).repeat(prompts),
        torch.arange(prompts).repeat_interleave(steps),
        condition,
    )
    return written(tmp_path / "collected", items, prompts)


class Kept:
    def __init__(self):
        self.told = []

    def log(self, values, step):
        self.told.append((step, values))


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_the_guided_prediction_of_prompts_that_it_never_saw(collection, tmp_path):
    """The untrained model's relative error is 1 by definition."""
    longer = ReflectSettings((1.0, 5.0), 16, 1, total_items=12_800, batch_size=32, evaluate_every=200)
    tracker = Kept()
    weak = reflect(collection, tmp_path / "out", longer, [tracker])
    measured = [one for one in entries(tmp_path / "out") if "validation" in one]
    assert len(measured) == 2
    assert measured[-1]["validation"] < 0.15
    assert set(measured[-1]["validation_by_step"]) == {str(step) for step in range(6)}
    assert sum(measured[-1]["validation_by_step"].values()) / 6 == pytest.approx(measured[-1]["validation"], abs=1e-3)
    assert [step for step, values in tracker.told if "validation" in values] == [200, 400]
    assert next(values["loss"] for _, values in tracker.told if "loss" in values) > 0
    saved = WeakModel.from_pretrained(tmp_path / "out" / MODEL)
    assert tuple(saved.config.guidance_range) == (1.0, 5.0)
    assert (tmp_path / "out" / MODEL / "diffusion_pytorch_model.safetensors").stat().st_size < 2.2 * sum(
        p.numel() for p in weak.parameters()
    ) + 10_000
    assert all(torch.allclose(a, b, atol=1e-2) for a, b in zip(saved.parameters(), weak.parameters(), strict=True))


def test_a_stopped_run_goes_on_bit_equal(collection, tmp_path, monkeypatch):
    whole = reflect(collection, tmp_path / "whole", SMALL)

    class StopError(Exception):
        pass

    class Stopped(Loop):
        def __init__(self, folder, task, settings, callbacks=(), **others):
            def stop(loop):
                if loop.progress.step == 27:
                    raise StopError

            super().__init__(folder, task, settings, [*callbacks, Every(1, stop)], **others)

    monkeypatch.setattr(module, "Loop", Stopped)
    with pytest.raises(StopError):
        reflect(collection, tmp_path / "cut", SMALL)
    monkeypatch.undo()
    again = reflect(collection, tmp_path / "cut", SMALL)
    assert any(one.get("resumed") for one in entries(tmp_path / "cut"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    with pytest.raises(WrongRunError, match="guidance range"):
        reflect(collection, tmp_path / "cut", ReflectSettings((1.0, 4.0), 16, 1, total_items=640, batch_size=16))


def test_the_loss_is_the_square_error_in_units_of_the_scales(collection, tmp_path):
    """Of the first weights, r = c: |(w - 1)(c - u)|² over the mean of (w - 1)², which is the guidance's square."""
    from samplesmith.training.collected import Collected
    from samplesmith.training.loop_settings import LoopSettings

    collected = Collected(collection)
    task = Reflection(module._new_model(collected, SMALL), collected, SMALL.guidance_range, 1e-3)
    loop = Loop(tmp_path / "loop", task, LoopSettings(10_000, 4096))
    loss, _ = task.loss(loop)
    items = collected.take(task.training)
    assert loss.item() == pytest.approx(float((items.conditional - items.unconditional).square().mean()), rel=0.05)


def test_whole_prompts_are_held_out_and_where_they_are_few_whole_runs():
    prompts, runs = torch.arange(50).repeat_interleave(3), torch.arange(150)
    held = held_out(prompts, runs, 0.06)
    assert sorted(set(prompts[held].tolist())) == [8, 25, 41]
    assert held.sum() == 9
    classes, runs = torch.arange(10).repeat(10).repeat_interleave(4), torch.arange(100).repeat_interleave(4)
    held = held_out(classes, runs, 0.06)
    assert held.sum() == 6 * 4
    assert len(classes[~held].unique()) == 10, "no class is left out"
    with pytest.raises(ValueError, match="of one run; collect two at least"):
        held_out(torch.zeros(5), torch.zeros(5), 0.06)


def test_square_errors_are_none_for_the_guided_prediction_and_the_guidance_for_the_conditional_one():
    u, c = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    items = Items(u, c, c + 1, torch.ones(3), torch.arange(3), torch.zeros(3))
    scales = torch.tensor([1.5, 3.0, 7.0])
    away = (scales - 1).square() * (c - u).flatten(1).square().sum(1)
    assert torch.allclose(square_errors(c, items, scales), away[:, None].expand(3, 2))
    assert torch.equal(square_errors(items.guided(scales), items, scales)[:, 0], torch.zeros(3))
    halfway = (c + items.guided(scales)) / 2
    assert torch.allclose(square_errors(halfway, items, scales)[:, 0], away / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"guidance_range": (4.0, 4.0)}, "give two scales"), ({"learning_rate": 0.0}, "give a number above 0")],
)
def test_settings_that_are_none(changes, message):
    with pytest.raises(ValueError, match=message):
        ReflectSettings(**changes)


def test_predictions_of_another_form_are_refused(tmp_path):
    flat = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    items = Items(flat, flat + 1, flat + 2, torch.ones(4), torch.arange(4), torch.arange(4))
    with pytest.raises(ValueError, match=r"shape \(1, 6, 8\); expected \(rows, channels, height, width\)"):
        reflect(written(tmp_path / "flat", items, 4), tmp_path / "out", SMALL)
