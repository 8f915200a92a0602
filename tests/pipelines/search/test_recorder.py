"""What a rerun recalls, asks for again and makes again."""

import json
import warnings

import numpy as np
import pytest
import torch
import toys
from chat_server import ChatServer, says
from fakes import Brightness
from PIL import Image
from samplesmith.pipelines import BudgetError, RecordsError
from samplesmith.verifiers import CallableVerifier, SelfSupervisedVerifier, VLMVerifier
from small_search import search, strict


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion")


def alike(records, others):
    """Equal but for calls that failed, and the rounding of scores, which depends on how many were scored at once."""
    assert len(records) == len(others)
    for one, other in zip(records, others, strict=True):
        assert list(one) == list(other)
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        leave_out = {"score", "scores", "verifier_calls"}
        assert [one[key] for key in one if key not in leave_out] == [other[key] for key in one if key not in leave_out]


class TestTriedAgain:
    """A rerun asks again for what a verifier did not give, and makes again what is gone; the rest is recalled."""

    @pytest.fixture
    def denoised(self, pipe):
        """Counts calls of the denoiser."""
        calls = []
        handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
        yield calls
        handle.remove()

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    @pytest.mark.parametrize("role", ["guide", "judge"])
    def test_an_endpoint_that_recovers(self, pipe, tmp_path, strategy, role):
        limit = 0.0

        def run(folder, failing):
            one = Brightness(role, fail_above=limit if failing else None)
            one.settings = lambda: {}  # an endpoint is the same when it answers again
            pair = (one, Brightness("other"))
            guide, judge = pair if role == "guide" else pair[::-1]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return search(pipe, guide, ["a cat", "a dog"], judge, strategy, output_dir=tmp_path / folder), one

        whole, _ = run("whole", False)
        scores = sorted(record["scores"][role] for record in whole.records if role in record["scores"])
        limit = scores[len(scores) // 2]
        ill, _ = run("ill", True)
        lost = [record for record in ill.records if record.get("reason") or record.get("missing")]
        assert 0 < len(lost) < len(ill.records)
        text = "raised RuntimeError: too bright for me"
        assert all(text in (record.get("reason") or record["missing"]["judge"]) for record in lost)
        still, _ = run("ill", True)
        alike(still.records, ill.records)
        assert still.ledger.verifier_calls == ill.ledger.verifier_calls + len(lost)
        well, asked = run("ill", False)
        alike(well.records, whole.records)
        alike([strict(line) for line in (tmp_path / "ill/records.jsonl").read_text().splitlines()], whole.records)
        if strategy == "random" or role == "judge":
            assert asked.images_scored == len(lost)
        again, asked = run("ill", False)
        assert asked.images_scored == 0
        assert again.records == well.records

    def test_pictures_are_not_made_again_for_a_score(self, pipe, tmp_path, denoised):
        with pytest.warns(UserWarning, match="candidate lost"):
            search(pipe, CallableVerifier(lambda x, p: x.mean((1, 2, 3)) * torch.nan, name="a"), output_dir=tmp_path)
        run = json.loads((tmp_path / "run.json").read_text())
        guide = Brightness("a")
        run["verifier_identity"] = guide.identity()
        (tmp_path / "run.json").write_text(json.dumps(run))
        denoised.clear()
        assert not search(pipe, guide, output_dir=tmp_path).failed
        assert denoised == []

    def test_reasons_of_an_endpoint_are_kept_by_image(self, pipe, tmp_path):
        answers = [says('{"score": 5}'), says("I see a cat."), says('{"score": 11}'), says('{"score": 6}')]
        with ChatServer(*answers) as server:
            judge = VLMVerifier(server.url, "vlm", concurrency=1)
            with pytest.warns(UserWarning, match="no score"):
                result = search(pipe, judge=judge, num_candidates=3, batch_size=3, output_dir=tmp_path)
            assert [record["scores"]["vlm"] for record in result.records] == [5, None, None]
            reasons = [record["missing"]["vlm"] for record in result.records[1:]]
            assert reasons[0] == "vlm gave NaN: its answer holds no score: 'I see a cat.'"
            assert reasons[1].startswith("vlm gave NaN: its score 11 is not from 0 to 10")
            again = search(pipe, judge=judge, num_candidates=3, batch_size=3, output_dir=tmp_path)
        assert [record["scores"]["vlm"] for record in again.records] == [5, 6, 6]
        assert len(server.requests) == 5

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    def test_a_picture_that_is_gone_or_torn(self, pipe, tmp_path, strategy):
        first = search(pipe, strategy=strategy, output_dir=tmp_path)
        finished = [record for record in first.records if record["status"] == "finished"]
        files = [tmp_path / record["file"] for record in finished]
        before = [np.asarray(Image.open(file)).astype(int) for file in files]
        files[0].unlink()
        files[-1].write_bytes(files[-1].read_bytes()[:-20])
        verifier = Brightness()
        again = search(pipe, verifier, strategy=strategy, output_dir=tmp_path)
        assert again.records == first.records
        assert verifier.images_scored == 0
        for file, pixels in zip(files, before, strict=True):
            assert np.abs(np.asarray(Image.open(file)) - pixels).max() <= (1 if "halving" in strategy else 0)
        assert np.asarray(again.images[0]).shape == (32, 32, 3)

    def test_a_picture_that_the_pipeline_spoils_stays_lost(self, pipe, monkeypatch, tmp_path, denoised):
        original = pipe.image_processor.postprocess

        def spoil(*args, **kwargs):
            images = original(*args, **kwargs)
            images[0] = np.nan
            return images

        monkeypatch.setattr(pipe.image_processor, "postprocess", spoil)
        with pytest.warns(UserWarning, match="NaN"):
            first = search(pipe, num_candidates=2, output_dir=tmp_path)
        denoised.clear()
        assert search(pipe, num_candidates=2, output_dir=tmp_path).records == first.records
        assert denoised == []

    def test_a_verifier_of_previews_gets_them_again(self, pipe, tmp_path):
        def run(folder, failing):
            def features(pictures):
                if failing:
                    raise RuntimeError("out of order")
                return pictures.mean((2, 3))

            judge = SelfSupervisedVerifier(features, "settled")
            judge.settings = lambda: {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return search(pipe, judge=judge, output_dir=tmp_path / folder)

        whole, ill = run("whole", False), run("ill", True)
        assert all(record["scores"]["settled"] is None for record in ill.records)
        alike(run("ill", False).records, whole.records)


class TestResume:
    def test_an_interrupted_run_goes_on_where_it_was(self, pipe, tmp_path):
        whole = search(pipe, output_dir=tmp_path / "whole")
        stops = []
        search(pipe, output_dir=tmp_path / "cut", on_batch=lambda report: stops.append(1) or len(stops) < 2)
        with (tmp_path / "cut/records.jsonl").open("a") as file:
            file.write('{"torn')
        verifier = Brightness()
        again = search(pipe, verifier, output_dir=tmp_path / "cut")
        assert verifier.images_scored == 1  # 4 of 5 were on record
        assert (tmp_path / "cut/records.jsonl").read_bytes() == (tmp_path / "whole/records.jsonl").read_bytes()
        assert again.best[0].record == whole.best[0].record
        assert again.ledger.nfe == whole.ledger.nfe

    def test_part_of_a_batch_is_evaluated_again_as_a_whole(self, pipe, tmp_path):
        whole = search(pipe, output_dir=tmp_path)
        lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_text("".join(lines[:3]))
        verifier = Brightness()
        assert search(pipe, verifier, output_dir=tmp_path).records == whole.records
        assert verifier.images_scored == 3

    def test_a_finished_run_costs_nothing(self, pipe, tmp_path):
        first = search(pipe, output_dir=tmp_path, budget=12)
        verifier = Brightness()
        again = search(pipe, verifier, output_dir=tmp_path, budget=12)
        assert verifier.images_scored == 0
        assert again.records == first.records
        assert np.array_equal(np.asarray(again.images[0]), np.asarray(first.images[0]))

    @pytest.mark.parametrize(
        "change", [{"seed": 1}, {"num_inference_steps": 3}, {"batch_size": 3}, {"num_candidates": 6}]
    )
    def test_another_run_is_refused_by_name(self, pipe, tmp_path, change):
        search(pipe, output_dir=tmp_path)
        name = next(iter(change))
        with pytest.raises(RecordsError, match=rf"holds another run \((arguments\.)?{name} was"):
            search(pipe, output_dir=tmp_path, **change)

    def test_a_folder_without_records_is_free(self, pipe, tmp_path):
        with pytest.raises(BudgetError):
            search(pipe, output_dir=tmp_path, budget=3)
        assert len(search(pipe, output_dir=tmp_path, budget=4).records) == 1

    def test_a_corrupt_records_file_is_refused(self, pipe, tmp_path):
        search(pipe, output_dir=tmp_path)
        lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_text(lines[0] + "nonsense\n" + lines[1])
        with pytest.raises(RecordsError, match=r"line 2 of .* is no record"):
            search(pipe, output_dir=tmp_path)
