"""Steps "auto" in a search of an unmodified pipeline."""

import json
import re
from dataclasses import asdict, replace

import pytest
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.search.allocation import Allocation
from samplesmith.pipelines.search.auto_steps import shipped_calibration
from samplesmith.pipelines.search.calibration import Calibration, StepCount
from samplesmith.verifiers import RankEnsemble

TABLE = Calibration(
    pipeline="StableDiffusionPipeline",
    scheduler="DDIMScheduler",
    guidance_scale=7.5,  # the pipeline's own default
    verifier="brightness",
    judge=None,
    prompts=10,
    steps=(StepCount(2, 4, (0.3, 0.4, 0.5, 0.6)), StepCount(4, 8, (0.45, 0.55))),
)


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion")


def search(pipe, calibration=TABLE, verifier=None, **arguments):
    arguments = {"num_inference_steps": "auto", "height": 32, "width": 32, "progress": False, **arguments}
    return NoiseSearch(pipe, verifier or Brightness(), calibration=calibration)(toys.PROMPT, **arguments)


@pytest.mark.parametrize(("budget", "steps", "candidates"), [(5, 2, 1), (8, 4, 1), (15, 2, 3), (23, 2, 5)])
def test_the_budget_is_spent_as_the_calibration_says(pipe, budget, steps, candidates):
    result = search(pipe, budget=budget)
    assert (len(result.records), result.ledger.nfe) == (candidates, candidates * 2 * steps)
    assert (result.allocation.num_inference_steps, result.allocation.candidates) == (steps, candidates)
    assert result.best[0].pipeline_kwargs()["num_inference_steps"] == steps
    plain = search(pipe, num_inference_steps=steps, budget=candidates * 2 * steps)
    assert result.records == plain.records
    assert plain.allocation is None


def test_the_choice_is_on_record_and_another_calibration_is_another_run(pipe, tmp_path):
    TABLE.save(tmp_path / "c.json")
    first = search(pipe, tmp_path / "c.json", budget=12, output_dir=tmp_path / "out")
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert Allocation(**run["allocation"]) == first.allocation
    assert asdict(first.allocation)["nfe"] == 12
    assert (run["budget"], run["arguments"]["num_inference_steps"]) == (12, 2)
    assert search(pipe, budget=12, output_dir=tmp_path / "out").records == first.records
    other = replace(TABLE, steps=(TABLE.steps[1],))
    with pytest.raises(RecordsError, match="holds another run"):
        search(pipe, other, budget=12, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("there is none; give one", {"calibration": None}),
        ("give a budget in NFEs", {"budget": None, "num_candidates": 4}),
        ("below one candidate, which costs 4 at 2 steps", {"budget": 3}),
        ("num_inference_steps is 'many'; give a whole number or 'auto'", {"num_inference_steps": "many"}),
        ("of the guidance scale 7.5, not 3.0; calibrate anew", {"guidance_scale": 3}),
        ("of the pipeline 'Flux', not 'StableDiffusionPipeline'", {"calibration": replace(TABLE, pipeline="Flux")}),
        ("of the scheduler 'Euler', not 'DDIMScheduler'", {"calibration": replace(TABLE, scheduler="Euler")}),
        ("of the verifier 'brightness', not 'taste'", {"verifier": Brightness("taste")}),
        ("not 'rank(a, b)'", {"verifier": RankEnsemble([Brightness("a"), Brightness("b")])}),
        ("no calibration nothing.json", {"calibration": "nothing.json"}),
    ],
)
def test_bad_requests(pipe, message, changes):
    with pytest.raises(ValueError, match=re.escape(message)):
        search(pipe, **{"budget": 12, **changes})


def test_a_models_folder_names_its_calibration(tmp_path):
    assert shipped_calibration(tmp_path) is None
    assert shipped_calibration("someone/a-model") is None
    assert shipped_calibration("emoji-clip") is None
    (tmp_path / "samplesmith.json").write_text(
        '{"kind": "pipeline", "calibrations": {"one": "c.json", "two": "d.json"}}'
    )
    assert shipped_calibration(tmp_path) == shipped_calibration(tmp_path, "one") == tmp_path / "c.json"
    assert shipped_calibration(tmp_path, "two") == tmp_path / "d.json"
    assert shipped_calibration(tmp_path, "three") == tmp_path / "c.json"  # which is then refused by its name
