"""`samplesmith search`: the best image of a prompt, by its noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.search.job import SearchJob
from .options import (
    Arguments,
    Device,
    Dtype,
    Guidance,
    Height,
    Hooks,
    Json,
    Model,
    Negative,
    Offload,
    Prompts,
    Scheduler,
    Seed,
    StepsOrAuto,
    Width,
    given_arguments,
    read_prompts,
    read_steps,
)
from .outcome import run_and_tell


def search(
    prompt: Annotated[list[str] | None, typer.Argument(help="what to draw, one text or several; or --prompts")] = None,
    prompts: Prompts = None,
    model: Model = "emoji-sd3",
    verifier: Annotated[
        list[str] | None,
        typer.Option(help="the guide, the model's own when left out; several choose by their mean rank"),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="a held-out verifier that measures and does not choose")] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="random; zero-order, as zero-order:neighbours=4,angle=0.4; halving, as halving:keep=0.5; sop; or with "
            "a stochastic scheduler svdd, code, smc, rbf, threshold or tree"
        ),
    ] = "random",
    budget: Annotated[
        int | None, typer.Option(help="NFEs per prompt: forwards of the denoiser, counted by row")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="candidates per prompt, in place of --budget; 8 by default")
    ] = None,
    stop_at: Annotated[
        float | None,
        typer.Option(help="a score that ends a prompt's search; the rest of its budget goes to the others"),
    ] = None,
    steps: StepsOrAuto = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="a file that `calibrate` wrote, for --steps auto (the model's own when left out) and halving"
        ),
    ] = None,
    guidance_scale: Guidance = None,
    negative_prompt: Negative = None,
    height: Height = None,
    width: Width = None,
    scheduler: Scheduler = None,
    hook: Hooks = None,
    argument: Arguments = None,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(help="candidates in one call of the pipeline")] = 8,
    output: Annotated[
        Path | None, typer.Option(help="folder for records and images; a rerun goes on from there")
    ] = None,
    dtype: Dtype = "float32",
    device: Device = None,
    offload: Offload = False,
    as_json: Json = False,
) -> None:
    """Search the noises of a prompt for its best image.

    Example: `samplesmith search "two cats and three stars on blue" --candidates 16 --output outputs/cats`
    """
    job = SearchJob(
        prompts=tuple(read_prompts(prompt, prompts)),
        model=model,
        verifiers=tuple(verifier or ()),
        judge=judge,
        strategy=strategy,
        budget=budget,
        candidates=candidates,
        seed=seed,
        batch_size=batch_size,
        steps=read_steps(steps),
        stop_at=stop_at,
        scheduler=scheduler,
        hooks=tuple(hook or ()),
        arguments=given_arguments(
            argument, guidance_scale=guidance_scale, negative_prompt=negative_prompt, height=height, width=width
        ),
        calibration=None if calibration is None else str(calibration),
        output=None if output is None else str(output),
        dtype=dtype,
        device=device,
        offload=offload,
    )
    run_and_tell(job, as_json)
