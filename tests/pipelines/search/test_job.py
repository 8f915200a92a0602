"""A job is the same search, whoever runs it: here, a file, a program."""

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from samplesmith import FlowSDEScheduler
from samplesmith.pipelines import NoiseSearch, SearchJob

JOB = SearchJob(
    prompts=("two cats on pink",),
    verifiers=("emoji-clip",),
    judge="emoji-detector",
    candidates=3,
    seed=7,
    batch_size=2,
    steps=2,
)


def test_a_job_runs_what_noise_search_does(emoji_pipe, emoji_clip, judge, tmp_path):
    loaded = {"emoji-clip": emoji_clip, "emoji-detector": judge}
    result = replace(JOB, output=tmp_path / "out").run(emoji_pipe, load=loaded.get, progress=False)
    search = NoiseSearch(emoji_pipe, emoji_clip, judge=judge)
    same = search("two cats on pink", num_candidates=3, seed=7, batch_size=2, progress=False, **JOB.call_arguments)
    assert [one.seed for one in result.candidates[0]] == [7, 8, 9]
    assert result.best[0].seed == same.best[0].seed
    assert result.best[0].scores == same.best[0].scores
    assert (tmp_path / "out/records.jsonl").read_text().count("\n") == 3
    again = SearchJob.from_dict(json.loads((tmp_path / "out/run.json").read_text())["job"])
    assert again == replace(JOB, output=str(tmp_path / "out"))
    # Not compared: the same search without a job goes on in the folder.
    asked = {"num_candidates": 3, "seed": 7, "batch_size": 2, "output_dir": tmp_path / "out", "progress": False}
    assert search(list(JOB.prompts), **asked, **JOB.call_arguments).best[0].seed == result.best[0].seed


def test_the_scheduler_is_the_job_s_while_it_runs(emoji_pipe, emoji_clip):
    own = emoji_pipe.scheduler
    schedulers = []
    job = replace(JOB, judge=None, candidates=2, scheduler="flow-sde:diffusion=square,norm=3")

    def look(report):
        schedulers.append(emoji_pipe.scheduler)

    loaded = {"emoji-clip": emoji_clip}
    noisy = job.run(emoji_pipe, load=loaded.get, progress=False, on_batch=look)
    assert emoji_pipe.scheduler is own
    assert isinstance(schedulers[0], FlowSDEScheduler)
    assert (schedulers[0].config.diffusion, schedulers[0].config.norm) == ("square", 3)
    plain = replace(job, scheduler=None).run(emoji_pipe, load=loaded.get, progress=False)
    assert noisy.best[0].score != plain.best[0].score


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompts": ("a star on blue", "two cats on pink"), "judge": None},
        {"verifiers": ("emoji-clip", "emoji-aesthetic"), "scheduler": "flow-sde:diffusion=square,norm=3"},
        {"verifiers": (), "judge": None, "scheduler": "time-shift:window=80", "hooks": ("row-times",)},
        {"steps": "auto", "budget": 60, "candidates": None, "judge": None},
    ],
)
def test_the_program_finds_the_same_winner(changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = replace(JOB, **{"candidates": 2, "device": "cpu", **changes})
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(job.python(), "job.py", "exec"), {})
    result = job.run(progress=False)
    found = re.findall(r"seed (\d+), score ([-.\d]+|nan)", said.getvalue())
    assert [int(seed) for seed, _ in found] == [best.seed for best in result.best]
    for (_, score), best in zip(found, result.best, strict=True):
        assert float(score) == pytest.approx(best.score, abs=1e-4)
    assert len(list(tmp_path.glob("best*.png"))) == len(job.prompts)


def test_json_holds_all_of_a_job():
    job = SearchJob(
        prompts=["a star on blue", 3],
        model="folder/of/model",
        verifiers=["clip:ViT-L-14:openai", "vlm:judge@http://localhost:8000/v1,temperature=none"],
        judge="emoji-detector",
        strategy="halving:rungs=[4,12]",
        budget=500,
        stop_at=0.5,
        scheduler="time-shift:window=80",
        hooks=["row-times"],
        arguments={"guidance_scale": 3.0, "sizes": (64, 32), "nothing": None},
        calibration="c.json",
        output="out",
        dtype="float16",
        device="cuda",
        offload=True,
    )
    assert job.prompts == ("a star on blue", "3")
    assert SearchJob.from_json(job.to_json()) == job
    assert SearchJob.from_json('{"prompts": ["a"]}') == SearchJob(("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts", "the job is no JSON"),
        ("[]", "no JSON object with prompts"),
        ("{}", "no JSON object with prompts"),
        ('{"prompts": ["a"], "modell": "x"}', "a job has no 'modell'; known: prompts, model, verifiers"),
        ('{"prompts": "a star"}', "prompts is one text; give a list"),
        ('{"prompts": ["a"], "arguments": [1]}', "arguments is no map"),
    ],
)
def test_what_is_no_job(text, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        SearchJob.from_json(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ()}, "the prompt is empty"),
        ({"prompts": (" ",)}, "the prompt is empty"),
        ({"prompts": (None,)}, "prompts holds what is no text"),
        ({"prompts": ("a dragon on blue",)}, "unknown word 'dragon' in the prompt; known objects: cat"),
        ({"model": "emoji-sd9"}, "unknown model 'emoji-sd9'"),
        ({"model": 3}, "model is 3; give a text"),
        ({"model": "some/one", "verifiers": ()}, "some/one is not a shipped model and brings no guide"),
        ({"model": None, "verifiers": ()}, "no model by name"),
        ({"budget": 100}, "give just one of budget"),
        ({"candidates": 0}, "candidates is 0; give a whole number of at least 1"),
        ({"seed": 2**63}, "seed is 9223372036854775808; give at most"),
        ({"batch_size": "2"}, "batch_size is '2'; give a whole number"),
        ({"steps": "many"}, "steps is 'many'; give a whole number"),
        ({"stop_at": float("inf")}, "stop_at is inf; give a number"),
        ({"arguments": {"height": 0}}, "height is 0; give a whole number of at least 1"),
        ({"arguments": {"num_inference_steps": 3}}, "give it as steps"),
        ({"strategy": "luck"}, "unknown strategy 'luck'; known: random"),
        ({"scheduler": "luck"}, "unknown scheduler 'luck'; give one of flow-sde"),
        ({"scheduler": "flow-sde:g=1"}, "flow-sde has no setting 'g'"),
        ({"hooks": ("luck",)}, "unknown hook 'luck'; known: row-times"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(changes, message, monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.loading.load", lambda *_: pytest.fail("loaded for nothing"))
    monkeypatch.setattr("samplesmith.verifiers.load_verifier", lambda *_: pytest.fail("loaded for nothing"))
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(JOB, **changes).run()
    assert message in str(error.value)


def test_arguments_that_no_file_holds_are_refused():
    with pytest.raises(ValueError, match=r"image is <object .*; give a number"):
        replace(JOB, arguments={"image": object()})


def test_a_pipeline_in_hand(emoji_pipe, emoji_clip):
    job = replace(JOB, model=None, verifiers=("mine",), judge="mine", steps=1, candidates=1)
    assert job.run(emoji_pipe, load={"mine": emoji_clip}.get, progress=False).best[0].seed == 7
    program = job.python(in_hand=["mine"])
    assert (
        "pipe = ...  # your pipeline\nverifier_1 = ...  # your mine\nguide = verifier_1\njudge = verifier_1\n"
        in program
    )
    assert "import samplesmith\n" not in program
    compile(program, "job.py", "exec")
    with pytest.raises(ValueError, match="an object in a program, which no command line can name"):
        job.command()
    with pytest.raises(ValueError, match="no model by name"):
        job.run(load={"mine": emoji_clip}.get)


def test_the_program_says_where_it_runs():
    assert ".to(" not in replace(JOB, device="cpu").python()
    assert (
        "samplesmith.load('emoji-sd3', dtype='float16').to('cuda')"
        in replace(JOB, device="cuda", dtype="float16").python()
    )
    assert "pipe.enable_model_cpu_offload(device='cuda')" in replace(JOB, device="cuda", offload=True).python()
