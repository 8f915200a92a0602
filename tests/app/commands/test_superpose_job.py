"""The command line that a job of superposition writes is read as the same job."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from job_values import job_of, maps, numbers, prompts, shared, texts
from samplesmith.pipelines import SuperposeJob

either = st.one_of(
    st.fixed_dictionaries(
        {
            "prompts": st.lists(prompts, min_size=1, max_size=3),
            "operator": st.none() | texts | st.lists(numbers, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries({"formula": texts}),
)
jobs = st.builds(
    lambda what, **fields: SuperposeJob(**what, **fields),
    what=either,
    num_images=st.integers(1, 64),
    batch_size=st.none() | st.integers(1, 64),
    steps=st.integers(1, 1000),
    settings=maps,
    alone=st.booleans(),
    **shared,
)


@settings(deadline=None)
@given(jobs)
@example(SuperposeJob(('it\'s "a" $(cat)', "--help"), "or", settings={"temperature": 0.3, "window": [0.1, 0.9]}))
@example(SuperposeJob(formula='"with a cat" & ~("on blue" | "-x")', arguments={"guidance_scale": 2.5}))
@example(SuperposeJob(("a", "b"), operator=(0.7, 0.3), alone=True))
def test_a_job_s_command_is_read_as_the_same_job(job):
    again = job_of(job.command(), SuperposeJob, "superpose")
    assert again == job
    assert again.to_json() == job.to_json(), "numbers keep their kind"
    assert SuperposeJob.from_json(job.to_json()) == job


def test_what_has_no_value_is_left_out():
    job = SuperposeJob(("with a cat", "with a dog"), arguments={"guidance_scale": 2.5})
    assert job.command() == (
        "samplesmith superpose 'with a cat' 'with a dog' --operator and --model emoji-sd3 --num-images 1 --seed 0 "
        "--steps 50 --guidance-scale 2.5"
    )
