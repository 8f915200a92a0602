"""A job of superposition as a Python program, in the words of `superpose`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..job_program import pipeline_lines, program

if TYPE_CHECKING:
    from .job import SuperposeJob


def program_of(job: SuperposeJob, in_hand: Collection[str] = ()) -> str:
    """A program that makes the job's images and prints what its judge says of each.

    Args:
        job: with or without a model by name.
        in_hand: names of verifiers that are objects in the reader's program.
    """
    what = repr(list(job.prompts)) if job.formula is None else repr(job.formula)
    arguments = {name: value for name, value in job.superpose_arguments.items() if name != "operator"}
    operator = [] if job.formula is not None else [f"    {job.superpose_arguments['operator']!r},"]
    body = [
        *pipeline_lines(job),
        "result = superpose(",
        "    pipe,",
        f"    {what},",
        *operator,
        *(f"    {name}={value!r}," for name, value in arguments.items()),
        ")",
        "for seed, image in zip(result.seeds, result.images):",
        '    image.save(f"superposed_{seed}.png")',
    ]
    if job.judge is not None:
        mine = job.judge in in_hand
        body.append(f"judge = ...  # your {job.judge}" if mine else f"judge = load_verifier({job.judge!r})")
        body += ["for seed, said in zip(result.seeds, judged(result, judge)):", '    print(f"seed {seed}: {said}")']
    return program(body)
