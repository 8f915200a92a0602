"""What verifiers say in a search: who chooses, who measures, and what a failure of each loses."""

import warnings

import numpy as np
import pytest
import toys
from fakes import Brightness
from samplesmith.verifiers import RankEnsemble
from small_search import search, strict


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion")


def test_the_judge_measures_and_does_not_choose(pipe):
    result = search(pipe, judge=Brightness("judge", factor=-1.0))
    assert result.best[0].score == max(record["scores"]["brightness"] for record in result.records)
    assert result.best[0].scores["judge"] == -result.best[0].score
    assert result.judge == "judge"


def test_rank_ensemble_chooses_from_the_whole_pool(pipe):
    parts = [Brightness("a"), Brightness("b", factor=-1.0)]
    result = search(pipe, RankEnsemble(parts, weights=[1, 3]))
    assert result.best[0].scores["b"] == max(record["scores"]["b"] for record in result.records)
    assert all(record["score"] is None for record in result.records)
    assert result.best[0].score == pytest.approx((1 * 1 + 3 * 5) / 4)


def test_a_verifier_that_raises_loses_only_its_candidate(pipe):
    plain = search(pipe)
    second = sorted(record["score"] for record in plain.records)[-2]
    with pytest.warns(UserWarning, match="candidate lost .* brightness raised RuntimeError: too bright for me"):
        result = search(pipe, Brightness(fail_above=second + 1e-6))
    lost = [record for record in result.records if "reason" in record]
    assert len(lost) == 1
    assert lost[0]["score"] is None
    assert lost[0]["status"] == "failed"
    assert result.best[0].score == pytest.approx(second, abs=1e-6)
    assert not result.failed


def test_nan_scores_and_total_failure_are_recorded(pipe, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = search(pipe, Brightness(nan_above=-1.0), output_dir=tmp_path)
        assert result.failed
        assert {record["reason"] for record in result.records} == {"brightness gave NaN"}
        assert result.images == [None]
        result.save(tmp_path)
        again = search(pipe, Brightness(nan_above=-1.0), output_dir=tmp_path)
        assert [record["reason"] for record in again.records] == ["brightness gave NaN"] * 5


def test_a_nan_image_is_recorded_with_its_reason(pipe, monkeypatch):
    original = pipe.image_processor.postprocess

    def spoil_the_second(*args, **kwargs):
        images = original(*args, **kwargs)
        images[1] = np.nan
        return images

    monkeypatch.setattr(pipe.image_processor, "postprocess", spoil_the_second)
    with pytest.warns(UserWarning, match="NaN"):
        result = search(pipe, num_candidates=3, batch_size=3)
    assert ["reason" in record for record in result.records] == [False, True, False]


class TestFailures:
    """A guide's failure loses a candidate, a judge's a judgement; both are null with a reason in the records."""

    @pytest.mark.parametrize("broken", [{"fail_above": -1.0}, {"nan_above": -1.0}])
    def test_a_judge_that_fails_changes_nothing_but_its_own_scores(self, pipe, broken):
        plain = search(pipe)
        with pytest.warns(UserWarning, match="no score of the judge"):
            judged = search(pipe, judge=Brightness("judge", **broken))
        assert judged.best[0].seed == plain.best[0].seed
        assert [one.score for one in judged.candidates[0]] == [one.score for one in plain.candidates[0]]
        for record in judged.records:
            assert record["scores"]["judge"] is None
            assert record["missing"]["judge"].startswith("judge ")
            assert record["status"] == "finished"
        assert not judged.failed

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    def test_guide_and_judge_of_one_name(self, pipe, strategy):
        """The judge turns the guide's order round, and is not followed."""
        result = search(pipe, Brightness("clip"), judge=Brightness("clip", factor=-1.0), strategy=strategy)
        assert result.judge == "clip#2"
        pool = result.candidates[0]
        assert result.best[0].score == max(one.scores["clip"] for one in pool)
        assert all(one.scores["clip#2"] == -one.scores["clip"] for one in pool)

    def test_records_are_json_whatever_fails(self, pipe, tmp_path):
        guide = RankEnsemble([Brightness("a", nan_above=0.0), Brightness("b")])
        levels = [record["score"] for record in search(pipe).records]
        guide.parts[0].nan_above = sorted(levels)[2] + 1e-6
        with pytest.warns(UserWarning, match="candidate lost"):
            result = search(
                pipe, guide, judge=Brightness("judge", fail_above=sorted(levels)[1] + 1e-6), output_dir=tmp_path
            )
        result.save(tmp_path)
        rows = [strict(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
        strict((tmp_path / "run.json").read_text())
        strict((tmp_path / "ledger.json").read_text())
        assert [row["status"] for row in rows].count("failed") == 2
        assert all(
            row["scores"]["a"] is row["scores"]["b"] is None and row["reason"] for row in rows if "reason" in row
        )
        assert [row["scores"]["judge"] is None for row in rows] == ["missing" in row for row in rows]
        assert sum("missing" in row for row in rows) == 3
        chosen = next(row for row in rows if row["seed"] == result.best[0].seed)
        assert chosen["scores"]["b"] == pytest.approx(sorted(levels)[2], abs=1e-5)
