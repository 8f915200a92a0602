"""`samplesmith steer`: the best image of a prompt, chosen from step to step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.search.steer_job import BUDGET, SCHEDULER, STEPS, SteerJob
from .options import (
    CALL,
    PLACE,
    BatchSize,
    CallOptions,
    Hooks,
    Json,
    Model,
    Place,
    Prompts,
    PromptTexts,
    Records,
    Seed,
    grouped,
    read_prompts,
)
from .outcome import run_and_tell


@grouped
def steer(
    prompt: PromptTexts = None,
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
    call: CallOptions = CALL,
    scheduler: Annotated[
        str,
        typer.Option(
            help="whose steps draw noise: stochastic:integrator=glass, flow-sde:diffusion=square,norm=3, or a class"
        ),
    ] = SCHEDULER,
    hook: Hooks = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    output: Records = None,
    place: Place = PLACE,
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
        arguments=call.given,
        calibration=None if calibration is None else str(calibration),
        output=None if output is None else str(output),
        **vars(place),
    )
    run_and_tell(job, as_json)
