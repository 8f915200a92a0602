"""The command line that a job writes is read as the same job."""

import shlex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samplesmith.app import cli
from samplesmith.pipelines import SearchJob, SteerJob
from typer.testing import CliRunner

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
prompts = texts.filter(str.strip)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | numbers | texts, lambda one: st.lists(one, max_size=2)
)
arguments = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), values, max_size=2)
own = st.fixed_dictionaries(
    {},
    optional={
        "guidance_scale": numbers,
        "negative_prompt": texts,
        "height": st.integers(1, 4096),
        "width": st.integers(1, 4096),
    },
)
counts = st.none() | st.integers(1, 10**6)
fields = {
    "prompts": st.lists(prompts, min_size=1, max_size=3),
    "model": texts,
    "verifiers": st.lists(texts, max_size=2),
    "judge": st.none() | texts,
    "strategy": texts,
    "budget": counts,
    "candidates": counts,
    "seed": st.integers(0, 2**62),
    "batch_size": st.integers(1, 64),
    "steps": st.none() | st.just("auto") | st.integers(1, 1000),
    "stop_at": st.none() | numbers,
    "scheduler": st.none() | texts,
    "hooks": st.lists(texts, max_size=2),
    "arguments": st.builds(lambda one, other: {**one, **other}, arguments, own),
    "calibration": st.none() | st.just("a b/c.json"),
    "output": st.none() | st.just("out/x"),
    "dtype": st.sampled_from(["float32", "float16"]),
    "device": st.none() | st.just("cuda:1"),
    "offload": st.booleans(),
}
steered = {**fields, "steps": st.integers(1, 1000), "scheduler": texts, "stop_at": st.none()}
jobs = st.builds(SearchJob, **fields) | st.builds(SteerJob, **steered)


def read(command):
    """The job that the command line runs."""
    found = []

    def run(self, **_):
        found.append(self)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        for kind in (SearchJob, SteerJob):
            patch.setattr(kind, "check", lambda self: None)
        patch.setattr(SearchJob, "run", run)
        patch.setattr("samplesmith.app.commands.outcome.make_folder", lambda folder: folder)
        name, *words = shlex.split(command)
        assert name == "samplesmith"
        result = CliRunner().invoke(cli.app, words)
    assert found, result.output
    return found[0]


@settings(deadline=None)
@given(jobs)
@example(SearchJob(('it\'s "a" $(star)`x` on \\ blue',), arguments={"guidance_scale": 2.5}, steps=12))
@example(SearchJob(("--help", "-5 cats"), verifiers=("--judge",), arguments={"negative_prompt": "-", "height": 64}))
@example(SteerJob(("a star on blue",)))
@example(SteerJob(("-1 star",), candidates=3, strategy="smc:tilt=5", scheduler="stochastic:integrator=glass"))
@example(SearchJob(("a",), arguments={"height": "64", "guidance_scale": True, "more": [1, [None, "x,y"]]}))
def test_a_job_s_command_is_read_as_the_same_job(job):
    again = read(job.command())
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
