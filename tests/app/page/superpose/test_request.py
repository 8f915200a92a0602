"""What a visitor may ask of a superposition."""

import pytest
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.models import Models
from samplesmith.app.page.superpose.request import checked_job
from samplesmith.app.page.superpose.tab import PRESETS

ASKED = {"what": "with a cat\nwith a dog\n", "model": "emoji-sd3", "judge": "emoji-detector"}


def job_of(**changes):
    return checked_job(Models(), Limits(), **{**ASKED, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"what": " \n "}, "the prompt is empty"),
        ({"what": None}, "the prompt is empty"),
        ({"what": "with a dragon\nwith a cat"}, "unknown word 'dragon'"),
        ({"what": '"with a cat'}, "lacks a prompt in quotes"),
        ({"what": "\n".join(["with a cat", "with a dog", "on blue", "with a car", "a fish", "a star", "a boat"])},
         "there are 7 prompts; superpose at most 6"),
        ({"model": "/etc/passwd"}, "no model '/etc/passwd' on this page"),
        ({"judge": "/etc/passwd"}, "no judge '/etc/passwd' on this page"),
        ({"operator": "[0.5,0.5]"}, "no operator '[0.5,0.5]' on this page; it has and, and-paper, or, mean"),
        ({"images": 9}, "the number of images is 9; give a number from 1 to 8"),
        ({"steps": 101}, "the number of steps is 101"),
        ({"images": 8, "steps": "100"}, None),
        ({"temperature": "hot"}, "the temperature is 'hot'; give a number"),
        ({"temperature": 0}, "the temperature is 0"),
        ({"guidance_scale": float("nan")}, "the guidance scale is nan"),
        ({"seed": -1}, "the seed is -1"),
    ],
)  # fmt: skip
def test_what_may_not_be_asked_is_one_sentence(changes, message):
    if message is None:
        job_of(**changes)
        return
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        job_of(**changes)
    assert message in str(error.value)


def test_more_steps_than_a_visitor_may_ask_for():
    with pytest.raises(ValueError, match="more than the 1,000 steps in all"):
        checked_job(Models(), Limits(total_steps=1000), **ASKED, images=8)


def test_lines_are_prompts_and_quotes_a_formula():
    assert (job_of().prompts, job_of().operator) == (("with a cat", "with a dog"), "and")
    job = job_of(what='"with a cat"\n & ~"on blue"', operator="or", temperature=" 0.3", steps="")
    assert (job.formula, job.prompts, job.operator) == ('"with a cat" & ~"on blue"', (), None)
    assert (job.settings, job.steps) == ({"temperature": 0.3}, 50)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_may_be_asked(name):
    what, operator = PRESETS[name]
    assert job_of(what=what, operator=operator).asked.prompts()
