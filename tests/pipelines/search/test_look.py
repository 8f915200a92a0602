"""Early looks: scores of clean predictions, recorded beside those of the end."""

import numpy as np
import pytest
import toys
from fakes import Brightness
from samplesmith.pipelines import Look, NoiseSearch, record_previews
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.decoding import Decoder
from samplesmith.pipelines.row import Row
from samplesmith.verifiers import CallableVerifier, RankEnsemble

STEPS = {**toys.SMALL, "num_inference_steps": 4}


def search(looks, **arguments):
    call = {"num_candidates": 3, "batch_size": 2, "progress": False, **STEPS, **arguments}
    return NoiseSearch(toys.build("StableDiffusion3"), Brightness(), judge=Brightness("judge"))(
        toys.PROMPT, looks=looks, **call
    )


def test_they_see_the_clean_predictions_and_choose_nothing():
    plain, seen = search([]), search([Look(Brightness("early", factor=2.0), (1, 3)), Look(Brightness("each"))])
    names = ["early after step 1", "early after step 3", *(f"each after step {k}" for k in range(1, 5))]
    for record, before in zip(seen.records, plain.records, strict=True):
        assert sorted(record["scores"]) == sorted([*before["scores"], *names])
        assert record["score"] == before["score"]
        assert record["scores"]["early after step 3"] == pytest.approx(2 * record["scores"]["each after step 3"])
        assert record["scores"]["each after step 4"] == pytest.approx(record["score"], abs=1e-4)
    assert seen.best[0].seed == plain.best[0].seed
    assert (seen.ledger.nfe, plain.ledger.nfe) == (plain.ledger.nfe, plain.ledger.nfe)
    assert seen.ledger.decodes == plain.ledger.decodes + 4 * 3  # two looks at one step share its picture
    assert seen.ledger.verifier_calls == plain.ledger.verifier_calls + (2 + 4) * 3

    pipe = toys.build("StableDiffusion3")
    call = PipelineCall(pipe, STEPS)
    with record_previews(pipe, [0]) as previews:
        call([Row(toys.PROMPT, 0)])
    picture, _ = Decoder(call)([toys.PROMPT], previews.latents[0])
    expected = float(np.mean(picture / 255))
    assert seen.records[0]["scores"]["each after step 1"] == pytest.approx(expected, abs=1e-3)


def test_a_look_that_fails_loses_its_score_alone():
    def gives_up(images, prompts):
        raise RuntimeError("too early")

    with pytest.warns(UserWarning, match="no early score"):
        result = search([Look(CallableVerifier(gives_up, name="early"), (2,))])
    for record in result.records:
        assert record["status"] == "finished"
        assert record["scores"]["early after step 2"] is None
        assert "too early" in record["missing"]["early after step 2"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Look(Brightness(), (0,)), "give numbers of steps made, from 1"),
        (lambda: Look(RankEnsemble([Brightness("a"), Brightness("b")])), "has no score for one picture alone"),
        (lambda: search([Look(Brightness(), (9,))]), "no step 8 in a run of 4"),
    ],
)
def test_bad_looks_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_strategy_that_looks_itself_takes_none():
    finder = NoiseSearch(toys.build("StableDiffusion3"), Brightness(), "halving")
    with pytest.raises(ValueError, match="halving looks at its candidates itself; leave looks out"):
        finder(toys.PROMPT, num_candidates=2, looks=[Look(Brightness())], progress=False, **STEPS)
