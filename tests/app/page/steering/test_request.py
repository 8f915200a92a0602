"""What a visitor may ask of a steered search."""

import pytest
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.models import Models
from samplesmith.app.page.steering.request import TRANSITIONS, best_of_n, checked_job
from samplesmith.samplers.by_name import check_scheduler

ASKED = {"prompt": "a star on blue", "model": "emoji-sd3", "verifier": "emoji-clip", "judge": "emoji-detector"}


def job_of(**changes):
    return checked_job(Models(), Limits(), **{**ASKED, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a dragon on blue"}, "unknown word 'dragon' in the prompt; known objects: cat"),
        ({"model": "/etc/passwd"}, "no model '/etc/passwd' on this page; it has emoji-sd3"),
        ({"verifier": "vlm:x@http://evil"}, "no verifier 'vlm:x@http://evil' on this page"),
        ({"transition": "flow-sde"}, "no transition 'flow-sde' on this page; it has precise, ddpm"),
        ({"strategy": "random"}, "random makes whole runs and steers none"),
        ({"strategy": "rbf:warm_up=0"}, "warm_up is 0; give at least 1"),
        ({"strategy": None}, "strategy is None; give a text"),
        ({"budget": 100_000}, "the budget is 100000; give a number from 1 to 2000 NFEs"),
        ({"budget": 7, "steps": 8}, "a path of 8 steps makes as many model calls"),
        ({"budget": float("nan")}, "the budget is nan"),
        ({"steps": 101}, "the number of steps is 101; give a number from 1 to 100"),
        ({"judge": "emoji-clip"}, "emoji-clip is verifier and judge"),
        ({"batch_size": 17}, "the number of candidates in one call is 17"),
    ],
)
def test_what_may_not_be_asked_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        job_of(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_each_transition_is_one_that_a_scheduler_takes(transition):
    job = job_of(transition=transition, guidance_scale="2.5")
    assert check_scheduler(job.scheduler)[1] == {"integrator": transition}
    assert job.arguments == {"guidance_scale": 2.5}


def test_best_of_n_has_the_same_budget_steps_and_verifiers_and_the_models_own_scheduler():
    job = job_of(budget=200, steps=10, seed=3)
    rival = best_of_n(job)
    same = ("prompts", "model", "verifiers", "judge", "budget", "steps", "seed", "arguments")
    assert all(getattr(rival, name) == getattr(job, name) for name in same)
    assert (rival.strategy, rival.scheduler, rival.candidates) == ("random", None, None)
