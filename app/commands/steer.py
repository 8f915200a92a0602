"""`samplesmith steer`: the best image of a prompt, chosen from step to step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.search.steer_job import BUDGET, SCHEDULER, STEPS, SteerJob
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
    Seed,
    Width,
    given_arguments,
    read_prompts,
)
from .outcome import run_and_tell


def steer(
    prompt: Annotated[list[str] | None, typer.Argument(help="what to draw, one text or several; or --prompts")] = None,
    prompts: Prompts = None,
    model: Model = "emoji-sd3",
    verifier: Annotated[
        list[str] | None, typer.Option(help="the guide, which scores clean predictions; the model's own when left out")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="a held-out verifier that measures finished images and does not choose")
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="rbf, as rbf:warm_up=8; svdd, code, smc, threshold, tree, sop or halving")
    ] = "rbf",
    budget: Annotated[
        int | None, typer.Option(help=f"NFEs per prompt: forwards of the denoiser, counted by row; {BUDGET} by default")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="in place of --budget: as many model calls as that number of whole runs makes")
    ] = None,
    steps: Annotated[int, typer.Option(help="steps of each path")] = STEPS,
    preview: Annotated[
        str,
        typer.Option(
            help="what clean predictions are shown by: full, the pipeline's decode; latent or latent:file=FIT, a "
            "linear fit; tiny:model=madebyollin/taesd"
        ),
    ] = "full",
    calibration: Annotated[
        Path | None, typer.Option(help="a file that `calibrate` wrote: where early scores tell, and what a step gains")
    ] = None,
    guidance_scale: Guidance = None,
    negative_prompt: Negative = None,
    height: Height = None,
    width: Width = None,
    scheduler: Annotated[
        str,
        typer.Option(
            help="whose steps draw noise: stochastic:integrator=glass, flow-sde:diffusion=square,norm=3, or a class"
        ),
    ] = SCHEDULER,
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
    """Choose among the noises of each step for a prompt's best image.

    Example: `samplesmith steer "two cats and three stars on blue" --strategy rbf --budget 500 --output outputs/steered`
    """
    job = SteerJob(
        prompts=tuple(read_prompts(prompt, prompts)),
        model=model,
        verifiers=tuple(verifier or ()),
        judge=judge,
        strategy=strategy,
        budget=budget,
        candidates=candidates,
        seed=seed,
        batch_size=batch_size,
        steps=steps,
        preview=preview,
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
