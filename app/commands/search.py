"""`samplesmith search`: the best image of a prompt, by its noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.search.job import SearchJob
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
    Scheduler,
    Seed,
    StepsOrAuto,
    grouped,
    read_prompts,
    read_steps,
)
from .outcome import run_and_tell


@grouped
def search(
    prompt: PromptTexts = None,
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
    call: CallOptions = CALL,
    scheduler: Scheduler = None,
    hook: Hooks = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    output: Records = None,
    place: Place = PLACE,
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
        arguments=call.given,
        calibration=None if calibration is None else str(calibration),
        output=None if output is None else str(output),
        **vars(place),
    )
    run_and_tell(job, as_json)
