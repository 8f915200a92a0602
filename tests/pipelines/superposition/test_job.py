"""A job of superposition is the same call of `superpose`, whoever runs it: here, a file, a program."""

import io
import re
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
import toys
from PIL import Image
from samplesmith.pipelines import SuperposeJob, superpose

JOB = SuperposeJob(("with a cat", "on pink"), num_images=2, seed=7, steps=3, judge="emoji-detector")


def pixels(images):
    return np.stack([np.asarray(image).astype(int) for image in images])


def test_a_job_runs_what_superpose_does_and_its_rivals_begin_alike(emoji_pipe, judge):
    told = []
    outcome = JOB.run(emoji_pipe, load=lambda name: judge, progress=False, on_step=lambda *now: told.append(now))
    same = superpose(emoji_pipe, ["with a cat", "on pink"], "and", num_images=2, seed=7, **JOB.call_arguments)
    assert (pixels(outcome.result.images) == pixels(same.images)).all()
    assert {name: rival.prompts for name, rival in outcome.rivals.items()} == {
        "mean": ["with a cat", "on pink"],
        "joint prompt": ["with a cat on pink"],
    }
    joint = superpose(emoji_pipe, ["with a cat on pink"], "mean", num_images=2, seed=7, **JOB.call_arguments)
    assert (pixels(outcome.rivals["joint prompt"].images) == pixels(joint.images)).all()
    assert outcome.nfe == 3 * 2 * (3 + 3 + 2)
    assert told == [(made, 9) for made in range(1, 10)]
    for said in outcome.judgements.values():
        assert len(said) == 2
        assert all(set(one.scores) == {"with a cat", "on pink"} for one in said)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"operator": (0.7, 0.3), "settings": {"integrator": "euler-maruyama"}, "batch_size": 1},
        {"prompts": (), "formula": '"with a cat" & ~"on blue"', "operator": None, "judge": None},
    ],
)
def test_the_program_makes_the_same_pictures(changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = replace(JOB, device="cpu", alone=True, **changes)
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(job.python(), "job.py", "exec"), {})
    outcome = job.run(progress=False)
    made = [Image.open(tmp_path / f"superposed_{seed}.png") for seed in (7, 8)]
    assert (pixels(made) == pixels(outcome.result.images)).all()
    words = re.findall(r"seed (\d): (.*)", said.getvalue())
    expected = [] if job.judge is None else [("7", str(outcome.judgements["superposed"][0]))]
    assert words[:1] == expected


def test_a_pipeline_in_hand_by_its_settings():
    pipe, arguments = toys.build("StableDiffusion"), dict(toys.TOYS["StableDiffusion"].arguments)
    steps = arguments.pop("num_inference_steps")
    job = SuperposeJob(("a red fox", "snow"), model=None, steps=steps, arguments=arguments, judge="brightness")
    from samplesmith.verifiers import CallableVerifier

    brightness = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="brightness")
    outcome = job.run(pipe, load=lambda name: brightness, progress=False)
    assert outcome.rivals["joint prompt"].prompts == ["a red fox and snow"]
    (said,) = outcome.judgements["superposed"]
    assert said.right is None
    assert said.least == said.scores["snow"]
    program = job.python(in_hand=["brightness"])
    assert "pipe = ...  # your pipeline\n" in program
    assert "judge = ...  # your brightness\n" in program
    compile(program, "job.py", "exec")
    with pytest.raises(ValueError, match="an object in a program, which no command line can name"):
        job.command()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": (" ",)}, "the prompt is empty"),
        ({"formula": '"on blue"'}, "give just one of prompts and formula"),
        ({"formula": '"on blue"', "prompts": (), "operator": "or"}, "a formula has its own operators"),
        ({"formula": '"on blue', "prompts": (), "operator": None}, "lacks a prompt in quotes"),
        ({"operator": "[1,x]"}, "give a name, or a list of weights such as [0.7,0.3]"),
        ({"settings": {"temperature": "hot"}}, "superposition has temperature=hot; give a number"),
        ({"settings": {"lift": [1.0]}}, "lift has 1 values for 2 prompts"),
        ({"model": "emoji-sd9"}, "unknown model 'emoji-sd9'"),
        ({"steps": 0}, "steps is 0; give a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"arguments": {"num_inference_steps": 3}}, "give it as steps"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(changes, message, monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.loading.load", lambda *_: pytest.fail("loaded for nothing"))
    monkeypatch.setattr("samplesmith.verifiers.load_verifier", lambda *_: pytest.fail("loaded for nothing"))
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(JOB, **changes).run()
    assert message in str(error.value)


def test_what_is_no_job():
    with pytest.raises(ValueError, match="no JSON object with prompts or formula"):
        SuperposeJob.from_json('{"model": "emoji-sd3"}')
    assert SuperposeJob.from_json('{"prompts": ["a", "b"]}') == SuperposeJob(("a", "b"), operator="and")
