"""`samplesmith superpose`: one image of several prompts, or of a formula over prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ...pipelines.superposition.job import STEPS, SuperposeJob
from ...valid_json import to_json
from .options import (
    CALL,
    PLACE,
    CallOptions,
    Json,
    Model,
    Place,
    Seed,
    console,
    errors,
    given_arguments,
    grouped,
    make_folder,
)

if TYPE_CHECKING:
    from ...pipelines import SuperposeOutcome

OUTPUT = Path("outputs/superpose")


@grouped
def superpose(
    prompts: Annotated[list[str] | None, typer.Argument(help="what is superposed, two texts or more")] = None,
    formula: Annotated[
        str | None, typer.Option(help='in place of prompts: \'"with a cat" & ~"on blue"\', with & | ~ and brackets')
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(help="of prompts: and (the default), and-paper, or, mean, product, or weights such as [0.7,0.3]"),
    ] = None,
    model: Model = "emoji-sd3",
    num_images: Annotated[int, typer.Option(help="images, with the seeds that follow each other")] = 1,
    seed: Seed = 0,
    batch_size: Annotated[int | None, typer.Option(help="images in one call of the pipeline; all by default")] = None,
    steps: Annotated[int, typer.Option(help="inference steps")] = STEPS,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="of the superposition, as temperature=0.3, estimator=ito or correct=fkc; or several"),
    ] = None,
    call: CallOptions = CALL,
    judge: Annotated[str | None, typer.Option(help="a verifier that says of each image what holds")] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="make no images of the mean and of a joint prompt from the same noises")
    ] = False,
    output: Annotated[Path | None, typer.Option(help=f"folder for the images and the record; {OUTPUT}")] = None,
    place: Place = PLACE,
    as_json: Json = False,
) -> None:
    """Make images of several prompts at once: all of them, any of them, or a formula.

    Example: `samplesmith superpose "with a cat" "with a dog" --num-images 4 --judge emoji-detector`
    """
    job = SuperposeJob(
        prompts=tuple(prompts or ()),
        formula=formula,
        operator=operator,
        model=model,
        num_images=num_images,
        seed=seed,
        batch_size=batch_size,
        steps=steps,
        settings=given_arguments(setting, "--setting"),
        arguments=call.given,
        judge=judge,
        alone=alone,
        output=None if output is None else str(output),
        **vars(place),
    )
    job.check()
    folder = make_folder(output or OUTPUT)
    outcome = job.run(progress=not as_json)
    outcome.save(folder)
    _plot(outcome, folder)
    if as_json:
        print(to_json({"folder": str(folder), **outcome.record()}, indent=2))
    else:
        _print(outcome, folder)


def _plot(outcome: SuperposeOutcome, folder: Path) -> None:
    """The picture of the run; where matplotlib is missing the images are there without it."""
    from ...evaluation.superposition_plot import plot_superposition

    try:
        plot_superposition(outcome.result, folder / "traces.png")
    except ValueError as error:
        errors.print(f"samplesmith: no traces.png: {error}", style="yellow", soft_wrap=True)


def _print(outcome: SuperposeOutcome, folder: Path) -> None:
    for arm, result in outcome.arms.items():
        prompts = list(map(str, result.prompts))
        said = outcome.judgements.get(arm)
        table = Table("seed", *(f"log-density: {one}" for one in prompts), title=outcome.title(arm))
        if said is not None:
            table.add_column(str(outcome.judge), overflow="fold")
        for k, (seed, densities) in enumerate(zip(result.seeds, _apart(result.log_densities), strict=True)):
            words = [] if said is None else [str(said[k])]
            table.add_row(str(seed), *(format(one, "+.1f") for one in densities), *words)
        console.print(table)
        if said is not None and said[0].right is not None:
            console.print(f"{sum(bool(one.right) for one in said)} of {len(said)} right")
    console.print(f"{outcome.nfe} NFEs; contact_sheet.png, traces.png and superposition.json in {folder}")


def _apart(densities: Any) -> list[list[float]]:
    """Log-densities beside their mean over the prompts, which is all that they tell."""
    return (densities - densities.mean(1, keepdim=True)).tolist()
