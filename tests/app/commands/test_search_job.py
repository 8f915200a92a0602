"""The command line that a job writes is read as the same job."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from job_values import job_of, numbers, prompts, shared, texts
from samplesmith.pipelines import SearchJob, SteerJob

counts = st.none() | st.integers(1, 10**6)
fields = {
    **shared,
    "prompts": st.lists(prompts, min_size=1, max_size=3),
    "verifiers": st.lists(texts, max_size=2),
    "strategy": texts,
    "budget": counts,
    "candidates": counts,
    "batch_size": st.integers(1, 64),
    "steps": st.none() | st.just("auto") | st.integers(1, 1000),
    "stop_at": st.none() | numbers,
    "scheduler": st.none() | texts,
    "hooks": st.lists(texts, max_size=2),
    "calibration": st.none() | st.just("a b/c.json"),
}
steered = {**fields, "steps": st.integers(1, 1000), "scheduler": texts, "stop_at": st.none(), "preview": texts}
jobs = st.builds(SearchJob, **fields) | st.builds(SteerJob, **steered)


@settings(deadline=None)
@given(jobs)
@example(SearchJob(('it\'s "a" $(star)`x` on \\ blue',), arguments={"guidance_scale": 2.5}, steps=12))
@example(SearchJob(("--help", "-5 cats"), verifiers=("--judge",), arguments={"negative_prompt": "-", "height": 64}))
@example(SteerJob(("a star on blue",)))
@example(SteerJob(("-1 star",), candidates=3, strategy="smc:tilt=5", scheduler="stochastic:integrator=glass"))
@example(SearchJob(("a",), arguments={"height": "64", "guidance_scale": True, "more": [1, [None, "x,y"]]}))
def test_a_job_s_command_is_read_as_the_same_job(job):
    again = job_of(job.command(), type(job), "outcome")
    assert type(again) is type(job)
    assert again == job
    assert again.to_json() == job.to_json(), "numbers keep their kind"


def test_what_has_no_value_is_left_out():
    job = SearchJob(("a star on blue",), arguments={"guidance_scale": 2.5, "max_sequence_length": 77})
    assert job.command() == (
        "samplesmith search 'a star on blue' --model emoji-sd3 --strategy random --candidates 8 --seed 0 "
        "--batch-size 8 --guidance-scale 2.5 --argument max_sequence_length=77"
    )


def test_an_argument_of_two_options_is_refused(fails):
    fails("the argument height is given twice", "search", "a star on blue", "--height", 64, "--argument", "height=64")
    fails("the settings of --argument, 'height', cannot be read", "search", "a star on blue", "--argument", "height")
