"""`samplesmith collect`: guided steps of a pipeline on disk, of which `reflect` makes a weak model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.numbers import check_numbers
from ...pipelines.shipped import call_arguments, check_vocabulary
from ...valid_json import to_json
from .options import (
    CALL,
    PLACE,
    CallOptions,
    Hooks,
    Json,
    Model,
    Place,
    Scheduler,
    Seed,
    Steps,
    console,
    grouped,
    make_folder,
    read_prompts,
)


@grouped
def collect(
    prompts: Annotated[
        Path, typer.Option(help="a file with one prompt per line: some hundred, none that is to be reported on")
    ],
    model: Model = "emoji-sd3",
    draws: Annotated[int, typer.Option(help="trajectories for each prompt")] = 1,
    keep_steps: Annotated[
        int | None, typer.Option(help="steps kept of each trajectory, spread over its run; all when left out")
    ] = None,
    max_gb: Annotated[float, typer.Option(help="bound of the folder, in gigabytes")] = 4.0,
    verifier: Annotated[str | None, typer.Option(help="scores each trajectory's picture; with --min-score")] = None,
    min_score: Annotated[
        float | None, typer.Option(help="trajectories that score less are rejected; with --verifier")
    ] = None,
    steps: Steps = None,
    call: CallOptions = CALL,
    scheduler: Scheduler = None,
    hook: Hooks = None,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(help="trajectories in one call of the pipeline, and in a shard")] = 8,
    output: Annotated[Path, typer.Option(help="folder for the shards; a rerun goes on from there")] = Path(
        "outputs/collected"
    ),
    place: Place = PLACE,
    as_json: Json = False,
) -> None:
    """Keep what a pipeline's denoiser predicts in guided steps, for `reflect`.

    Example: `samplesmith collect --prompts benchmarks/prompts/collect.txt --output outputs/collected`
    """
    check_numbers(steps=steps, batch_size=batch_size, seed=seed, **call.numbers)
    given = call.given
    wanted = read_prompts(None, prompts)
    check_vocabulary(wanted, model, [verifier] if verifier else [])

    from ...pipelines.on_device import check_device, load_on_device
    from ...samplers.by_name import set_up
    from ...training.collect import CollectSettings
    from ...training.collect import collect as run
    from ...verifiers import load_verifier

    settings = CollectSettings(draws, keep_steps, max_gb, min_score, seed, batch_size)
    make_folder(output)
    check_device(place.device, place.offload)
    guide = load_verifier(verifier) if verifier else None
    pipe = load_on_device(model, **vars(place))
    arguments = call_arguments(model, {"num_inference_steps": steps, **given})
    with set_up(pipe, scheduler, hook or ()):
        index = run(pipe, wanted, output, settings, guide, progress=not as_json, **arguments)
    entries = list(index.shards.values())
    items, size = sum(one.items for one in entries), sum(one.size for one in entries)
    trajectories = [one for entry in entries for one in entry.trajectories]
    kept = sum(one.kept for one in trajectories)
    if as_json:
        found = {"items": items, "bytes": size, "trajectories": len(trajectories), "kept": kept, "folder": str(output)}
        print(to_json(found, indent=2))
    else:
        console.print(
            f"{items} steps of {kept} trajectories ({len(trajectories)} were run), {size / 1e6:.1f} MB in {output}"
        )
