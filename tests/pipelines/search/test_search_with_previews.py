"""Searches guided by a verifier that compares finished images with clean predictions at an earlier step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, decode, record_previews
from samplesmith.pipelines.decoding import Decoder
from samplesmith.pipelines.outputs import as_pixels
from samplesmith.samplers.strategies import ZeroOrder
from samplesmith.verifiers import RankEnsemble, SelfSupervisedVerifier

STEPS = 5


def verifier(preview_at=0.7, name="self-supervised"):
    return SelfSupervisedVerifier(lambda images: images - 0.5, name, preview_at=preview_at)


def search(pipe, name, guide=None, strategy="random", judge=None, **arguments):
    _, prompt, call = toys.TOYS[name]
    arguments = {"num_candidates": 4, "batch_size": 3, "seed": 3, "progress": False, **arguments}
    return NoiseSearch(pipe, guide or verifier(), strategy, judge)(
        prompt, **{**call, "num_inference_steps": STEPS, **arguments}
    )


@pytest.mark.parametrize(("preview_at", "step"), [(0.7, 3), (0.2, 0), (0.95, 3)])
@pytest.mark.parametrize("name", ["StableDiffusion", "StableDiffusion3", "Flux", "DiT"])
def test_the_score_compares_with_the_clean_prediction_of_its_step(name, preview_at, step):
    """As a plain run records it; the step is never the last, whose prediction is the image."""
    pipe = toys.build(name)
    _, prompt, call = toys.TOYS[name]
    result = search(pipe, name, verifier(preview_at))
    condition = {"class_labels": [prompt]} if name == "DiT" else {"prompt": prompt}
    for candidate in result.candidates[0]:
        with record_previews(pipe, [step]) as previews:
            generator = torch.Generator().manual_seed(candidate.seed)
            pipe(**condition, **(call | {"num_inference_steps": STEPS}), generator=generator, output_type="np")
        early, _ = as_pixels(decode(pipe, previews.latents[step][:1], 32, 32).permute(0, 2, 3, 1).numpy())
        early, final = (torch.tensor(np.array(one, dtype=np.float32)) for one in (early[0], candidate.image))
        expected = F.cosine_similarity((early / 255 - 0.5).flatten(), (final / 255 - 0.5).flatten(), dim=0)
        assert candidate.score == pytest.approx(float(expected), abs=2e-3)
    assert result.best[0].score == max(candidate.score for candidate in result.candidates[0])
    assert (result.ledger.decodes, result.ledger.verifier_calls) == (8, 4)
    assert "step" not in vars(pipe.scheduler)


def test_zero_order_search_goes_by_it():
    pipe = toys.build("StableDiffusion")
    strategy = ZeroOrder(neighbours=2, angle=0.5, draws=2)
    results = [search(pipe, "StableDiffusion", strategy=strategy, batch_size=size) for size in (1, 4)]
    assert [len(record["legs"][0]["moves"]) for record in results[0].records] == [0, 0, 1, 1]
    scores = [[record["score"] for record in result.records] for result in results]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    pivot = int(np.argmax(scores[0][:2]))
    assert {record["seed"] for record in results[0].records[2:]} == {3 + pivot}


def test_as_a_part_and_as_a_judge():
    pipe = toys.build("StableDiffusion3")
    alone = search(pipe, "StableDiffusion3")
    summed = search(pipe, "StableDiffusion3", Brightness() + 0.5 * verifier())
    ranked = search(pipe, "StableDiffusion3", RankEnsemble([Brightness(), verifier()]))
    judged = search(pipe, "StableDiffusion3", Brightness(), judge=verifier())
    expected = [record["score"] for record in alone.records]
    for result in (summed, ranked, judged):
        assert [record["scores"]["self-supervised"] for record in result.records] == pytest.approx(expected, abs=1e-6)


def test_it_resumes_to_the_same_bytes(tmp_path):
    pipe = toys.build("StableDiffusion")
    search(pipe, "StableDiffusion", output_dir=tmp_path / "whole")
    search(pipe, "StableDiffusion", output_dir=tmp_path / "cut", on_batch=lambda report: False)
    again = search(pipe, "StableDiffusion", output_dir=tmp_path / "cut")
    assert again.ledger.decodes == 8
    files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_out_of_memory_halves_the_previews_too(monkeypatch):
    pipe = toys.build("StableDiffusion")
    expected = search(pipe, "StableDiffusion", batch_size=4)

    original = Decoder.__call__

    def greedy(decoder, prompt, latents):
        if len(latents) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(decoder, prompt, latents)

    monkeypatch.setattr(Decoder, "__call__", greedy)
    with pytest.warns(UserWarning, match="out of memory with 4 candidates per call; going on with 2"):
        result = search(pipe, "StableDiffusion", batch_size=4)
    assert [r["score"] for r in result.records] == pytest.approx([r["score"] for r in expected.records], abs=1e-4)


def test_what_does_not_fit_is_one_sentence():
    pipe = toys.build("StableDiffusion")
    with pytest.raises(ValueError, match=r"need previews at 0.7 and 0.5 of the run; give them one preview_at"):
        NoiseSearch(pipe, verifier(), judge=verifier(0.5, "other"))
    with pytest.raises(ValueError, match=r"the parts of .* need previews at 0.5, 0.7 of the run"):
        _ = verifier() + verifier(0.5, "other")
    with pytest.raises(ValueError, match=r"preview_at is 1.0; give a share"):
        verifier(1.0)
    with pytest.raises(ValueError, match="a run of one step has no clean prediction before its last"):
        NoiseSearch(pipe, verifier())("a cat", num_candidates=1, num_inference_steps=1, progress=False)
