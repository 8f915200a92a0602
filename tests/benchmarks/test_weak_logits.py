"""benchmarks/weak_logits.py on small models: what each way of guidance costs, and that a cell is made once."""

import pytest
import torch
from samplesmith.models.weak_logits import WeakLogitsModel
from samplesmith.training.embedded import fashion_ar
from weak_logits import METHODS, Cells


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion-ar")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fashion_ar.build_vq((8, 8, 8)).save_pretrained(folder / "vq")
        fashion_ar.build_model(width=16, layers=1).save_pretrained(folder / "transformer")
        weak = WeakLogitsModel(267, width=16)
        torch.nn.init.normal_(weak.head.weight)
        weak.save_pretrained(folder / "weak-model")
    return Cells(folder, folder / "work", batch=10)


def test_fast_costs_half_of_the_forwards_and_a_cell_is_made_once(cells):
    """64 tokens; in the first 30 % of them, 20, whatever guides asks twice."""
    forwards = {method: float(cells.cell(method, 2.0, 0, 20)["forwards"]) for method in METHODS}
    assert forwards == {"CFG": 128, "interval": 84, "fast": 64, "fast after 30 %": 84, "slow": 128}
    assert float(cells.cell("slow", 1.0, 0, 20)["forwards"]) == 64
    cells.rows = 0
    again = cells.cell("fast", 2.0, 0, 20)
    assert cells.rows == 0
    assert again["features"].shape[0] == len(again["right"]) == 20


def test_each_way_draws_other_pictures_from_the_same_seeds(cells):
    drawn = {method: cells.draw(method, 3.0, range(4)) for method in METHODS}
    assert all((drawn[method] != drawn["CFG"]).any() for method in METHODS if method != "CFG")
    assert (cells.draw("CFG", 3.0, range(4)) == drawn["CFG"]).all()
