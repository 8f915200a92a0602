"""`samplesmith distill`: a stage of a student of one or a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.numbers import check_numbers
from ...pipelines.shipped import call_arguments, check_model
from .options import Seed, console, make_folder, read_prompts


def distill(
    teacher: Annotated[str, typer.Option(help="a shipped model, a folder or a hub id")] = "fashion-ddpm",
    stage: Annotated[
        str, typer.Option(help="tsm (a student of another form), ode (a warm start), dm, adm; in this order")
    ] = "dm",
    students: Annotated[int, typer.Option(help="how many there are")] = 1,
    subset: Annotated[int, typer.Option(help="which of them this run trains, from 0")] = 0,
    prompts: Annotated[
        Path | None, typer.Option(help="of a text teacher: a file with one prompt per line, a thousand or more")
    ] = None,
    steps: Annotated[int, typer.Option(help="of the student")] = 1,
    blocks: Annotated[int | None, typer.Option(help="a smaller student, of so many of the teacher's blocks")] = None,
    student_config: Annotated[
        Path | None, typer.Option(help="a JSON file of what differs from the teacher's config; new weights")
    ] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="of the teacher; its default when left out")] = None,
    examples: Annotated[int, typer.Option(help="samples of the teacher per class or prompt, made once")] = 64,
    teacher_steps: Annotated[int | None, typer.Option(help="of their making; its default when left out")] = None,
    updates: Annotated[int, typer.Option(help="of the student; a longer run goes on from a shorter one")] = 1000,
    batch_size: Annotated[int, typer.Option(help="rows of an update, per process")] = 64,
    own: Annotated[
        float, typer.Option(help="share of the rows of tsm that the student's own runs make, such as 0.5")
    ] = 0.0,
    rate: Annotated[float, typer.Option(help="learning rate of the student")] = 1e-4,
    fake_rate: Annotated[float, typer.Option(help="learning rate of the fake score")] = 1e-4,
    fake_updates: Annotated[int, typer.Option(help="of the fake score, for each of the student's")] = 5,
    decoupled: Annotated[bool, typer.Option(help="guidance as an augmentation with times of its own")] = False,
    alignment: Annotated[
        float | None, typer.Option(help="what the fake score keeps of itself after an update, such as 0.97")
    ] = None,
    adversarial: Annotated[float, typer.Option(help="weight of the adversarial loss, in adm")] = 3e-3,
    seed: Seed = 0,
    bf16: Annotated[bool, typer.Option(help="compute in bfloat16")] = False,
    output: Annotated[Path, typer.Option(help="folder of all students; a rerun goes on from there")] = Path(
        "outputs/students"
    ),
) -> None:
    """Distil a model into students of one or a few steps, one stage of one student at a time.

    Example: `samplesmith distill --students 4 --subset 0 --stage dm`, and so for subsets 1 to 3, here or elsewhere.
    """
    check_model(teacher)
    check_numbers(seed=seed, batch_size=batch_size, guidance_scale=guidance_scale)
    defaults = call_arguments(teacher, {"guidance_scale": guidance_scale, "num_inference_steps": teacher_steps})
    scale, made_in = defaults.pop("guidance_scale", 1.0), defaults.pop("num_inference_steps", 50)
    wanted = read_prompts(None, prompts) if prompts is not None else None

    from ...training.distillation.job import DistillJob, read_config

    job = DistillJob(
        teacher,
        make_folder(output),
        stage,
        subset,
        students,
        wanted,
        steps,
        blocks,
        None if student_config is None else read_config(student_config),
        scale,
        examples,
        made_in,
        updates,
        batch_size,
        seed,
        plan={
            "own": own,
            "rate": rate,
            "fake_rate": fake_rate,
            "fake_updates": fake_updates,
            "decoupled": decoupled,
            "alignment": alignment,
            "adversarial": adversarial,
        },
        arguments=defaults,
        settings={"bf16": bf16},
    )
    job.run()
    console.print((output / "partition.txt").read_text().rstrip(), soft_wrap=True)
    console.print(f"student {subset} has ended {stage}: {job.folder(stage) / 'student'}", soft_wrap=True)
    if (whole := output / "pipeline").is_dir():
        console.print(f"all are there: MultiStudentPipeline.from_pretrained('{whole}')", soft_wrap=True)
