"""Winners, scores and NFEs of searches on the shipped models, as they were recorded: a rebuilt search finds the same.

`python tests/pipelines/search/test_recorded_figures.py` records them anew: after a change of weights, and only then.
"""

import json
from pathlib import Path

import pytest
import samplesmith
import torch
from samplesmith.pipelines import NoiseSearch
from samplesmith.verifiers import load_verifier

SAME = 1e-4
"""Scores of the same candidates differ by less, whatever the batches, threads and processor (float32)."""
FILE = Path(__file__).with_name("recorded_figures.json")
PROMPTS = ["a fish and three boats on blue", "a robot left of two cars on white"]
RUNS = {
    "random": ("random", {"num_candidates": 6}),
    "random within a budget": ("random", {"budget": 90}),
    "random until a score": ("random", {"num_candidates": 5, "stop_at": 0.6}),
    "zero-order": ("zero-order:neighbours=2,angle=0.5", {"num_candidates": 7}),
    "zero-order within a budget": ("zero-order:neighbours=3,draws=2", {"budget": 100}),
    "halving": ("halving", {"num_candidates": 8}),
    "halving of three rungs within a budget": ("halving:rungs=3,keep=0.5", {"budget": 120}),
}


def figures(pipe, guide, judge, name):
    strategy, size = RUNS[name]
    result = NoiseSearch(pipe, guide, strategy, judge=judge)(
        PROMPTS, **size, num_inference_steps=6, guidance_scale=2.0, max_sequence_length=1, batch_size=4, seed=40,
        height=128, width=128, progress=False,
    )  # fmt: skip
    best = [{"seed": one.seed, "lineage": [list(move) for move in one.lineage], **one.scores} for one in result.best]
    ledger = {
        "nfe": result.ledger.nfe,
        "decodes": result.ledger.decodes,
        "verifier_calls": result.ledger.verifier_calls,
    }
    evaluated = [[record["seed"], record["nfe"], record["score"]] for record in result.records]
    return {"best": best, "ledger": ledger, "evaluated": evaluated}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_searches_find_what_they_found(emoji_pipe, emoji_clip, judge, name):
    known, found = json.loads(FILE.read_text())[name], figures(emoji_pipe, emoji_clip, judge, name)
    assert found["ledger"] == known["ledger"]
    for one, before in zip(found["best"], known["best"], strict=True):
        assert (one["seed"], one["lineage"]) == (before["seed"], before["lineage"])
        assert one["emoji-clip"] == pytest.approx(before["emoji-clip"], abs=SAME)
        assert one["emoji-detector"] == before["emoji-detector"]
    assert [row[:2] for row in found["evaluated"]] == [row[:2] for row in known["evaluated"]]
    scores, before = ([row[2] for row in run["evaluated"]] for run in (found, known))
    assert scores == pytest.approx(before, abs=SAME)


if __name__ == "__main__":
    torch.set_num_threads(1)  # as the tests have it
    models = samplesmith.load("emoji-sd3"), load_verifier("emoji-clip"), load_verifier("emoji-detector")
    FILE.write_text(json.dumps({name: figures(*models, name) for name in RUNS}, indent=1) + "\n")
