import re

import numpy as np
import pytest
import toys
from fakes import Brightness
from samplesmith.evaluation.calibration import calibrate, measure_previews, measure_steps, rank_correlation
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.search.calibration import Calibration, StepCount
from samplesmith.verifiers import RankEnsemble

PROMPTS = ["a cat on pink", "a dog on blue"]
CALL = {"height": 32, "width": 32, "max_sequence_length": 4}


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion3")


def run(pipe, verifier=None, prompts=PROMPTS, **changes):
    arguments = {"steps": (4, 2), "candidates": 3, "batch_size": 2, "progress": False, "seed": 1, **CALL, **changes}
    return calibrate(pipe, verifier or Brightness(), prompts, **arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("calibration")


@pytest.fixture(scope="module")
def found(pipe, folder):
    return run(pipe, judge=Brightness("judge", factor=-2.0), output_dir=folder)


def test_the_curves_are_those_of_searches(pipe, found):
    assert (found.pipeline, found.scheduler) == ("StableDiffusion3Pipeline", "FlowMatchEulerDiscreteScheduler")
    assert (found.guidance_scale, found.verifier, found.judge, found.prompts) == (7.0, "brightness", "judge", 2)
    assert [(row.num_inference_steps, row.nfe) for row in found.steps] == [(2, 4), (4, 8)]
    for row in found.steps:
        result = NoiseSearch(pipe, Brightness())(
            PROMPTS,
            num_candidates=3,
            batch_size=2,
            seed=1,
            progress=False,
            num_inference_steps=row.num_inference_steps,
            **CALL,
        )
        best = np.mean([max(candidate.score for candidate in pool) for pool in result.candidates])
        mean = np.mean([record["score"] for record in result.records])
        assert (row.score[0], row.score[2]) == pytest.approx((mean, best))
        assert row.success == pytest.approx([-2 * value for value in row.score])


def test_quantiles_of_the_scores_at_each_step(found, tmp_path):
    """Of all prompts' candidates, from the lowest to the highest; they outlive the file, and may be missing in one."""
    assert all(len(row.quantiles) == 11 and list(row.quantiles) == sorted(row.quantiles) for row in found.previews)
    last = next(row for row in found.previews if (row.num_inference_steps, row.step) == (4, 4))
    assert last.quantiles[0] <= found.steps[1].score[0] <= last.quantiles[-1]
    found.save(tmp_path / "calibration.json")
    again = Calibration.load(tmp_path / "calibration.json")
    assert again == found
    assert again.early_quantiles(8) == {2 * row.step: row.quantiles for row in found.previews[2:]}
    older = re.sub(r',\s*"quantiles": \[[^\]]*\]', "", (tmp_path / "calibration.json").read_text())
    (tmp_path / "older.json").write_text(older)
    assert Calibration.load(tmp_path / "older.json").early_quantiles(4) is None


def test_previews_end_in_the_image_itself(found):
    """x0-hat of the last step is what the run ends in: the same order, the same choice."""
    rows = [(row.num_inference_steps, row.step) for row in found.previews]
    assert rows == [(2, 1), (2, 2), (4, 1), (4, 2), (4, 3), (4, 4)]
    for curve in found.steps:
        previews = [row for row in found.previews if row.num_inference_steps == curve.num_inference_steps]
        assert previews[-1].rank_correlation == 1
        assert previews[-1].score == pytest.approx(curve.score[-1])
        assert all(row.success == pytest.approx(-2 * row.score) for row in previews)
        assert all(row.score <= previews[-1].score + 1e-9 for row in previews)


@pytest.mark.parametrize("name", ["QwenImagePipeline", "Flux2KleinPipeline"])
def test_previews_of_latents_in_other_forms(name):
    _, prompt, arguments = toys.TOYS[name]
    call = {key: value for key, value in arguments.items() if key != "num_inference_steps"}
    found = calibrate(toys.build(name), Brightness(), [prompt], steps=[3], candidates=3, progress=False, **call)
    assert [row.step for row in found.previews] == [1, 2, 3]
    assert found.previews[-1].rank_correlation == pytest.approx(1.0)


def test_a_second_call_goes_on_from_the_records(pipe, folder, found):
    verifier = Brightness()
    assert run(pipe, verifier, judge=Brightness("judge", factor=-2.0), output_dir=folder) == found
    assert verifier.images_scored == 0
    assert "step" not in vars(pipe.scheduler)
    found.save(folder / "c.json")
    assert Calibration.load(folder / "c.json") == found


def test_measured_from_records():
    """One right candidate of two, which the guide prefers: best-of-1 is .5, best-of-2 is 1."""
    rows = [{"prompt_index": i, "nfe": 8, "scores": {"guide": s, "judge": s}} for i in range(3) for s in (0.0, 1.0)]
    assert measure_steps({4: rows}, "guide", "judge") == (StepCount(4, 8, (0.5, 1.0), (0.5, 1.0)),)
    assert measure_steps({4: rows}, "guide", None)[0].success is None
    with pytest.raises(ValueError, match=r"1 candidates of 4 steps failed \(dark\)"):
        measure_steps({4: [*rows, {"reason": "dark"}]}, "guide", None)


def test_a_preview_that_misleads():
    """Early scores in the opposite order choose the worst candidate."""
    rows = [
        {"prompt_index": i, "scores": {"guide": s, "judge": s > 1, "guide after step 1": -s, "guide after step 2": s}}
        for i in range(2)
        for s in (0.0, 1.0, 2.0)
    ]
    first, last = measure_previews(rows, 2, "guide", "judge")
    assert (first.step, first.rank_correlation, first.score, first.success) == (1, -1, 0, 0)
    assert (last.step, last.rank_correlation, last.score, last.success) == (2, 1, 2, 1)


def test_rank_correlation():
    rng = np.random.default_rng(0)
    final = rng.normal(size=(400, 12))
    early = final + rng.normal(size=final.shape)
    # Spearman's of a normal pair is (6 / pi) asin(r / 2), r = 1 / sqrt 2, but for O(1 / n) of so small pools.
    assert rank_correlation(early, final) == pytest.approx(6 / np.pi * np.arcsin(0.5 / np.sqrt(2)), abs=0.05)
    assert rank_correlation(final**3, final) == 1
    assert rank_correlation(np.zeros((2, 3)), final[:2, :3]) == 0
    assert rank_correlation(final[:2], np.stack([np.zeros(12), final[1]])) == 1


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("calibrate by one verifier", {"verifier": RankEnsemble([Brightness("a"), Brightness("b")])}),
        ("num_inference_steps is what a calibration compares", {"num_inference_steps": 3}),
        ("steps are [2, 2]", {"steps": (2, 2)}),
        ("steps are []", {"steps": ()}),
        ("candidates is 2; give at least 3", {"candidates": 2}),
    ],
)
def test_bad_requests(pipe, message, changes):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(pipe, **changes)


def test_one_process_measures(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a calibration is measured by one process; start it without torchrun"):
        calibrate(None, None, ["a cat"])
