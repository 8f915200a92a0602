"""`samplesmith calibrate`: what candidates are worth by their steps, for `search --steps auto` and `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ...pipelines.numbers import check_numbers
from ...pipelines.shipped import call_arguments, check_vocabulary, default_guide
from .options import (
    CALL,
    PLACE,
    BatchSize,
    CallOptions,
    Json,
    Model,
    Place,
    Seed,
    console,
    grouped,
    make_folder,
    read_prompts,
)

if TYPE_CHECKING:
    from ...pipelines.search.calibration import Calibration


@grouped
def calibrate(
    prompts: Annotated[
        Path, typer.Option(help="a file with one prompt per line: some dozen, not those to be reported on")
    ],
    model: Model = "emoji-sd3",
    verifier: Annotated[str | None, typer.Option(help="the guide; the model's own when left out")] = None,
    judge: Annotated[str | None, typer.Option(help="a held-out verifier that measures the choices")] = None,
    steps: Annotated[str, typer.Option(help="numbers of steps to compare")] = "5,8,12,28",
    candidates: Annotated[int, typer.Option(help="candidates per prompt, at each number of steps")] = 16,
    call: CallOptions = CALL,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    output: Annotated[
        Path,
        typer.Option(help="folder for the calibration, a linear preview and the records; a rerun goes on from there"),
    ] = Path("outputs/calibration"),
    place: Place = PLACE,
    as_json: Json = False,
) -> None:
    """Measure what candidates are worth by their steps, and what their clean predictions say early.

    A linear fit from latents to pixels, for previews without a decode, is kept beside it.

    Example: `samplesmith calibrate --prompts benchmarks/prompts/validation.txt --judge emoji-detector`
    """
    numbers = _read_steps(steps)
    check_numbers(batch_size=batch_size, seed=seed, **call.numbers)
    given = call.given
    wanted = read_prompts(None, prompts)
    verifier = verifier or default_guide(model)
    check_vocabulary(wanted, model, [verifier, *([judge] if judge else [])])

    from ...evaluation.calibration import calibrate as measure
    from ...evaluation.calibration_plot import plot_calibration
    from ...evaluation.figures import new_figure
    from ...evaluation.latent_preview import fit_latent_preview
    from ...pipelines.on_device import check_device, load_on_device
    from ...pipelines.quick_previews import FILE_NAME, LinearPreview
    from ...verifiers import load_verifier

    # What would fail after the hours is tried before them.
    new_figure(1, 1)
    make_folder(output)
    check_device(place.device, place.offload)
    guide, held_out = load_verifier(verifier), load_verifier(judge) if judge else None
    pipe = load_on_device(model, **vars(place))
    arguments = call_arguments(model, given)
    arguments.pop("num_inference_steps", None)
    found = measure(
        pipe,
        guide,
        wanted,
        numbers,
        candidates,
        held_out,
        seed=seed,
        batch_size=batch_size,
        output_dir=output,
        progress=not as_json,
        **arguments,
    )
    if as_json:
        print(found.to_json())
    else:
        _print(found, output)
    found.save(output / "calibration.json")
    plot_calibration(found, output / "calibration.png")
    fit = output / FILE_NAME
    try:
        if not fit.exists():
            fit_latent_preview(pipe, wanted, numbers[-1], seed=seed, **arguments).save(fit)
        said = f"of the pixels' variance it explains {LinearPreview.load(fit).explained:.0%}"
    except ValueError as error:  # latents of clips, or of no autoencoder: the calibration stands without it
        said = f"none was fitted: {error}"
    if not as_json:
        console.print(f"linear preview for `steer --preview latent:file={fit}`: {said}", soft_wrap=True)


def _read_steps(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"--steps is {text!r}; give whole numbers such as 5,8,12,28")
    return [int(part) for part in parts]


def _print(found: Calibration, output: Path) -> None:
    from ...samplers.strategies.halving import TELLING

    table = Table("steps", "NFEs", f"{found.verifier} of best-of-1", f"of best-of-{len(found.steps[0].score)}")
    if found.judge:
        table.add_column(f"{found.judge} of best-of-1")
        table.add_column("of the best")
    for row in found.steps:
        ends = [(curve[0], curve[-1]) for curve in (row.score, row.success) if curve is not None]
        table.add_row(str(row.num_inference_steps), str(row.nfe), *(f"{value:.3f}" for pair in ends for value in pair))
    console.print(table)
    steps = found.steps[-1].num_inference_steps
    told = next((step for step, value in (found.correlations(steps) or {}).items() if value >= TELLING), None)
    when = "not before the last step" if told in (None, steps) else f"from step {told} of {steps} on"
    console.print(
        f"{found.prompts} prompts; {when} the clean prediction ranks candidates much as the image does (rank "
        f"correlation at least {TELLING:g}). calibration.json and calibration.png in {output}",
        soft_wrap=True,
    )
