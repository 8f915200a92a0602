"""A job as a Python program, in the words of `NoiseSearch` or `steer`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..job_program import pipeline_lines, program

if TYPE_CHECKING:
    from .job import SearchJob


def program_of(job: SearchJob, in_hand: Collection[str] = ()) -> str:
    """A program that makes the job's search and prints the best of each prompt.

    Args:
        job: with or without a model by name.
        in_hand: names of verifiers that are objects in the reader's program.
    """
    auto = job.steps == "auto" and job.calibration is None
    body = [
        *pipeline_lines(job),
        *_changes(job),
        *_verifiers(job, in_hand),
        *_search(job, auto),
        *_best(job),
    ]
    return program(body)


def _changes(job: SearchJob) -> list[str]:
    scheduler = [] if job.scheduler is None else [f"set_scheduler(pipe, {job.scheduler!r})"]
    return scheduler + [f"apply_hook(pipe, {hook!r})" for hook in job.hooks]


def _verifiers(job: SearchJob, in_hand: Collection[str]) -> list[str]:
    def load(name: str) -> str:
        return yours.get(name, f"load_verifier({name!r})")

    names = dict.fromkeys([*job.guides, *([] if job.judge is None else [job.judge])])
    yours = {name: f"verifier_{k}" for k, name in enumerate((name for name in names if name in in_hand), 1)}
    lines = [f"{variable} = ...  # your {name}" for name, variable in yours.items()]
    guides = ", ".join(map(load, job.guides))
    lines.append(f"guide = {guides}" if len(job.guides) == 1 else f"guide = RankEnsemble([{guides}])")
    return lines if job.judge is None else [*lines, f"judge = {load(job.judge)}"]


def _search(job: SearchJob, auto: bool) -> list[str]:
    settings = [f"strategy={job.strategy!r}", *(["judge=judge"] if job.judge is not None else [])]
    if auto:
        settings.append(f"calibration=shipped_calibration({job.model!r}, guide.name)")
    elif job.calibration is not None:
        settings.append(f"calibration={job.calibration!r}")
    settings += [f"{name}={value!r}" for name, value in job.scoring.items()]
    prompts = repr(job.prompts[0]) if len(job.prompts) == 1 else repr(list(job.prompts))
    return [
        f"search = {job.maker}(pipe, guide, {', '.join(settings)})",
        "result = search(",
        f"    {prompts},",
        *(f"    {name}={value!r}," for name, value in job.search_arguments.items()),
        ")",
    ]


def _best(job: SearchJob) -> list[str]:
    if len(job.prompts) > 1:
        return [
            "for k, best in enumerate(result.best):",
            '    print(f"{best.prompt}: seed {best.seed}, score {best.score:.6f}")',
            '    best.image.save(f"best_{k:04d}.png")',
        ]
    return [
        "best = result.best[0]",
        'print(f"seed {best.seed}, score {best.score:.6f}")',
        'best.image.save("best.png")',
    ]
