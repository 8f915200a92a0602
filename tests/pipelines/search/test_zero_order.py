"""Zero-order search through unmodified pipelines: noises that are no seed's own, made by the pipelines themselves."""

import numpy as np
import pytest
import torch
import toys
from diffusers import EulerDiscreteScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.moved_noise import moved_noise
from samplesmith.samplers.strategies import ZeroOrder
from samplesmith.verifiers import RankEnsemble

NO_LATENTS = ("DiT", "Img2Img")


def search(pipe, name, strategy=None, verifier=None, **arguments):
    _, prompt, call = toys.TOYS[name]
    arguments = {"num_candidates": 8, "batch_size": 3, "seed": 3, "progress": False, **call, **arguments}
    finder = NoiseSearch(pipe, verifier or Brightness(), strategy or ZeroOrder(neighbours=3, angle=0.5, draws=2))
    return finder(prompt, **arguments)


def difference(image, other):
    return np.abs(np.asarray(image).astype(int) - np.asarray(other)).max()


@pytest.mark.parametrize("name", toys.COMMON)
def test_any_pipeline_unmodified(name):
    """Scores hold for other batch sizes, and the plain pipeline makes a moved candidate again from its latents."""
    pipe = toys.build(name)
    results = [search(pipe, name, batch_size=size) for size in (1, 3, 8)]
    records = results[0].records
    for result in results[1:]:
        assert [r["score"] for r in result.records] == pytest.approx([r["score"] for r in records], abs=1e-4)
        assert [r["legs"] for r in result.records] == [r["legs"] for r in records]
    assert [len(record["legs"][0]["moves"]) for record in records[:5]] == [0, 0, 1, 1, 1]
    assert len({round(record["score"], 6) for record in records}) == 8
    moved = results[1].candidates[0][3]
    assert difference(moved.reproduce(pipe), moved.image) <= 1
    if name not in NO_LATENTS:
        assert difference(pipe(**moved.pipeline_kwargs(pipe)).images[0], moved.image) <= 1
    assert "prepare_latents" not in vars(pipe)


def test_scaled_noise():
    """Euler's pipelines multiply latents= by the first sigma: what is handed over is not scaled yet."""
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = EulerDiscreteScheduler()
    moved = search(pipe, "StableDiffusion").candidates[0][4]
    assert moved.lineage
    assert difference(pipe(**moved.pipeline_kwargs(pipe)).images[0], moved.image) <= 1


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux"])
def test_rows_without_moves_are_untouched(name):
    pipe = toys.build(name)
    _, prompt, call = toys.TOYS[name]
    call = {"prompt": prompt, **call}
    with moved_noise(pipe, [torch.Generator()], [()]):
        assert "prepare_latents" not in vars(pipe)


def test_it_resumes_from_its_records(tmp_path):
    pipe = toys.build("StableDiffusion")
    whole = search(pipe, "StableDiffusion", output_dir=tmp_path / "whole")
    cut = tmp_path / "cut"
    stops = iter([True, False])
    search(pipe, "StableDiffusion", output_dir=cut, on_batch=lambda report: next(stops))
    kept = (cut / "records.jsonl").read_text()
    assert 0 < len(kept.splitlines()) < 8
    judge = Brightness()
    search(pipe, "StableDiffusion", verifier=judge, output_dir=cut)
    assert judge.images_scored == 8 - len(kept.splitlines())
    assert (cut / "records.jsonl").read_bytes() == (tmp_path / "whole/records.jsonl").read_bytes()
    assert len(whole.records) == 8


def test_records_of_another_lineage_are_refused(tmp_path):
    pipe = toys.build("StableDiffusion")
    search(pipe, "StableDiffusion", output_dir=tmp_path)
    file = tmp_path / "records.jsonl"
    file.write_text(file.read_text().replace("0.5]]", "0.25]]"))
    with pytest.raises(RecordsError, match="name another output folder"):
        search(pipe, "StableDiffusion", output_dir=tmp_path)


def test_a_pipeline_or_verifier_that_does_not_fit_is_told():
    pipe = toys.build("StableDiffusion")
    with pytest.raises(ValueError, match="ranks whole pools"):
        NoiseSearch(pipe, RankEnsemble([Brightness("a"), Brightness("b")]), "zero-order")
    moved = search(pipe, "StableDiffusion").candidates[0][4]
    with pytest.raises(ValueError, match=r"give the pipeline: pipeline_kwargs\(pipe\)"):
        moved.pipeline_kwargs()
