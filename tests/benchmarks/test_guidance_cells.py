"""The cells of benchmarks/weak_to_strong.py on a toy: what is kept, what it costs, and the effective scale."""

import pytest
import torch
import toys
from fakes import Brightness
from guidance_cells import Cells
from samplesmith.models.weak_model import WeakModel
from samplesmith.pipelines.counting import count_nfe
from weak_to_strong import chosen_scale, neighbours

PROMPTS = ["a cat", "a dog"]
ARGUMENTS = {"num_inference_steps": 4, "height": 32, "width": 32, "max_sequence_length": 4}


class Eyes:
    """Features of pictures: the means of their channels."""

    def image_features(self, pixels):
        return pixels.mean((2, 3))


@pytest.fixture
def cells(tmp_path):
    pipe = toys.build("StableDiffusion3")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WeakModel(8, condition_width=64, width=16, layers=1).save_pretrained(tmp_path / "weak")
    return Cells(tmp_path / "cells", pipe, Brightness(), Eyes(), ARGUMENTS, tmp_path / "weak", {"run": 1}, batch_size=4)


@pytest.mark.parametrize(
    ("method", "nfe"),
    [("CFG", 8), ("interval", 6), ("fast", 4), ("fast after 30 %", 6), ("slow", 8), ("Z", 17), ("Z-CoRe²", 14)],
)
def test_a_cell_is_made_once_and_counts_its_evaluations(cells, method, nfe):
    with count_nfe(cells.pipe) as counts:
        made = cells.outcome(method, 2.0, PROMPTS, 2)
        spent, counts.nfe = counts.nfe, 0
        again = cells.outcome(method, 2.0, PROMPTS, 2)
        assert (spent, counts.nfe) == (4 * nfe, 0)
    assert made.nfe == again.nfe == nfe
    assert (made.right == again.right).all()
    assert made.right.shape == (2, 2)
    assert made.features.shape == (2, 2, 3)


def test_sgg_goes_on_two_evaluations_throughout(cells):
    assert cells.outcome("SGG", 2.0, PROMPTS, 2).nfe == 8


def test_without_guidance_all_methods_are_one(cells):
    cells.outcome("CFG", 1.0, PROMPTS, 2)
    with count_nfe(cells.pipe) as counts:
        assert cells.outcome("slow", 1.0, PROMPTS, 2).nfe == 4
    assert counts.nfe == 0


def test_the_effective_scale_of_plain_guidance_is_its_own(cells):
    """With r = c: fast is 1, guidance for the first half of four steps the mean of w, w, 1, 1; zigzag is above w."""
    assert cells.scale_of("CFG", 3.0, PROMPTS) == pytest.approx(3.0, abs=2e-3)
    assert cells.scale_of("fast", 3.0, PROMPTS) == pytest.approx(1.0, abs=2e-3)
    assert cells.scale_of("interval", 3.0, PROMPTS) == pytest.approx((2 * 3 + 2 * 1) / 4, abs=2e-3)
    assert cells.scale_of("slow", 3.0, PROMPTS) == pytest.approx(1 + 1.5 * 2, abs=2e-3)
    assert cells.scale_of("Z", 3.0, PROMPTS) > 3.2


def test_another_run_is_refused(cells):
    with pytest.raises(SystemExit, match="holds another run: run was 1, now 2"):
        Cells(cells.folder, cells.pipe, cells.judge, cells.eyes, ARGUMENTS, cells.weak, {"run": 2})


def test_a_scale_is_chosen_by_success_and_the_lower_of_equal_ones():
    assert chosen_scale({1.0: 0.2, 2.0: 0.5, 3.0: 0.5}) == 2.0
    assert neighbours(2.0, [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert neighbours(3.0, [1.0, 2.0, 3.0]) == [2.0, 3.0]
