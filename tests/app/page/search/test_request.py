"""What a visitor may ask of a search."""

import pytest
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.models import Models
from samplesmith.app.page.search import request
from samplesmith.app.page.search.request import checked_job
from samplesmith.assets import call_defaults

ASKED = {
    "prompt": "a star on blue",
    "model": "emoji-sd3",
    "verifier": "emoji-clip",
    "judge": "emoji-detector",
    "batch_size": 4,
}


def job_of(models=None, **changes):
    return checked_job(models or Models(), Limits(), **{**ASKED, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a dragon on blue"}, "unknown word 'dragon' in the prompt; known objects: cat"),
        ({"prompt": "cats on"}, "is not a scene"),
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": None}, "the prompt is empty"),
        ({"prompt": "a star on blue " * 700_000}, "the prompt has 10,500,000 characters; write at most 400"),
        ({"model": "/etc/passwd"}, "no model '/etc/passwd' on this page; it has emoji-sd3"),
        ({"verifier": "vlm:x@http://evil"}, "no verifier 'vlm:x@http://evil' on this page; it has emoji-clip"),
        ({"judge": "/etc/passwd"}, "no judge '/etc/passwd' on this page; it has emoji-detector"),
        ({"verifier": {"a": 1}}, "no verifier"),
        ({"strategy": 3}, "strategy is 3; give a text"),
        ({"strategy": "luck"}, "unknown strategy 'luck'; known: random"),
        ({"strategy": "random:__class__=1"}, "random has no setting '__class__'; known: none"),
        ({"candidates": 1000}, "the budget is 1000; give a number from 1 to 64 candidates"),
        ({"candidates": 0}, "the budget is 0"),
        ({"candidates": -3}, "the budget is -3"),
        ({"candidates": float("nan")}, "the budget is nan"),
        ({"candidates": float("inf")}, "the budget is inf"),
        ({"candidates": 10**400}, "the budget is 1000000"),
        ({"candidates": 2.5}, "give a whole number from 1 to 64 candidates"),
        ({"candidates": "8"}, "the budget is no number"),
        ({"candidates": True}, "the budget is no number"),
        ({"seed": -1}, "the seed is -1"),
        ({"steps": 10_000}, "the number of steps is 10000; give a number from 1 to 100"),
        ({"steps": 0}, "the number of steps is 0"),
        ({"steps": "nan"}, "the number of steps is nan"),
        ({"steps": "many"}, "the number of steps is 'many'; give a number from 1 to 100"),
        ({"steps": "100", "candidates": 64}, "one visitor may ask for 3,200 steps in all"),
        ({"batch_size": 100}, "the number of candidates in one call is 100"),
        ({"guidance_scale": float("nan")}, "the guidance scale is nan"),
        ({"height": 100_000}, "the height is 100000; give a number from 8 to 1536 pixels"),
    ],
)
def test_what_may_not_be_asked_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        job_of(**changes)
    assert message in str(error.value)


def test_digits_become_words_for_a_guide_that_knows_none(monkeypatch):
    asked = "3 cats left of 1 star on blue"
    assert request._in_known_words(asked, "fashion-ddpm") == asked
    monkeypatch.setattr(request.assets, "card", lambda name: {"vocabulary": "emoji", "lacks": ["1", "3"]})
    assert request._in_known_words(asked, "emoji-clip") == "three cats left of a star on blue"
    assert request._in_known_words("3 on blue", "emoji-clip") == "3 on blue", "what is no scene is told by its check"


def test_a_judge_is_no_verifier_and_a_class_is_one_of_the_model_s():
    with pytest.raises(ValueError, match="emoji-detector is verifier and judge"):
        job_of(verifier="emoji-detector")
    fashion = {"model": "fashion-ddpm", "verifier": "fashion-classifier", "judge": None}
    assert job_of(prompt="Sneaker", **fashion).prompts == ("Sneaker",)
    with pytest.raises(ValueError, match="no class 'a star on blue' on this page; it has T-shirt"):
        job_of(**fashion)


def test_steps_auto_need_a_calibration():
    with pytest.raises(ValueError, match="toys/sd carries no calibration, which steps 'auto' need"):
        job_of(Models("toys/sd"), model="toys/sd", steps=" Auto")


def test_a_field_that_is_left_empty_keeps_the_model_s_own():
    job = job_of(steps="", guidance_scale=" ", height=None, width="")
    assert job.call_arguments == call_defaults("emoji-sd3")
    job = job_of(steps="12", guidance_scale="2.5")
    assert job.call_arguments == call_defaults("emoji-sd3") | {"num_inference_steps": 12, "guidance_scale": 2.5}


def test_numbers_are_checked_into_python_s_own():
    job = job_of(candidates=8.0, seed=3.0, steps=12.0, prompt=" a star on blue\n")
    assert (job.candidates, job.seed, job.steps, job.prompts) == (8, 3, 12, ("a star on blue",))
    assert job.call_arguments == call_defaults("emoji-sd3") | {"num_inference_steps": 12}
