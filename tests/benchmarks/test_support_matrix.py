"""The committed matrix of pipelines: whole, true of today's classes, and, for some rows, run again."""

import json
from pathlib import Path

import pytest
import support_page
import toys
from pipeline_classes import pipeline_classes
from support_cells import SAME_ANSWER, cell
from support_checks import CHECKS, SAVED, SEVERAL
from support_toys import Toy
from unsupported import PROPERTIES, property_of

ROOT = Path(__file__).resolve().parents[2]

MATRIX = json.loads((ROOT / "benchmarks" / "results" / "support_matrix.json").read_text())
AGAIN = ["QwenImagePipeline", "StableUnCLIPPipeline"]
AGAIN_SLOWLY = [
    "KandinskyV22CombinedPipeline",
    "LatentConsistencyModelPipeline",
    "Lumina2Pipeline",
    "StableDiffusionPipeline, IP-Adapter",
    "TextToVideoSDPipeline",
    "WanPipeline, two experts",
    "ZImagePipeline",
]


def test_lists_the_classes_of_the_installed_diffusers():
    assert MATRIX["classes"] == pipeline_classes()
    texts = [one for one in MATRIX["classes"].values() if one["kind"] in ("text", "class") and "toys" in one]
    assert len(texts) >= 40
    assert all(one.get("toys") or one["reason"] for one in MATRIX["classes"].values())


def test_every_toy_has_a_row_and_every_row_its_cells():
    assert list(MATRIX["rows"]) == list(toys.TOYS)
    for entry in MATRIX["rows"].values():
        assert set(entry["cells"]) == set(CHECKS) | set(SAVED) == set(support_page.COLUMNS)
        for outcome in entry["cells"].values():
            assert outcome["state"] == "yes" or outcome["why"]


def test_the_page_is_what_the_matrix_says():
    assert (ROOT / "docs" / "pipelines.md").read_text() == support_page.page(MATRIX)


@pytest.mark.parametrize("row", sorted({row for row, _, cell in support_page.cells(MATRIX) if "why" in cell}))
def test_what_is_not_counted_is_so_by_a_property(row):
    pipe = toys.build(row)
    for outcome in MATRIX["rows"][row]["cells"].values():
        if outcome["state"] == "refused" and (said := property_of(outcome["why"])):
            assert PROPERTIES[said](pipe), outcome["why"]


def test_support_says_what_the_cells_found():
    for row, entry in MATRIX["rows"].items():
        for method, columns in SAME_ANSWER.items():
            why, found = entry["support"][method], [entry["cells"][column] for column in columns]
            refused = {one.get("why") for one in found if one["state"] == "refused"}
            if why is not None:
                assert refused == {why}, (row, method)


@pytest.mark.parametrize("row", [*AGAIN, *(pytest.param(row, marks=pytest.mark.slow) for row in AGAIN_SLOWLY)])
def test_rows_run_again(row):
    toy = Toy(row)
    for name, check in CHECKS.items():
        found = cell(toy, lambda check=check: check(toy), name in SEVERAL)
        assert found == MATRIX["rows"][row]["cells"][name], name
