"""`samplesmith plan`: how many samples a success rate takes, and how to spend a budget of NFEs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ...foreign_errors import in_one_sentence
from ...pipelines.numbers import check_numbers
from ...valid_json import to_json
from .options import Json, console

if TYPE_CHECKING:
    from ...evaluation.planning import BudgetPlan


def plan(
    source: Annotated[Path, typer.Argument(help="output folder of a search with a judge, or its records.jsonl")],
    target: Annotated[float, typer.Option(help="share of the prompts that are to come out right")] = 0.8,
    guide: Annotated[str | None, typer.Option(help="the score that chooses; the search's own when left out")] = None,
    judge: Annotated[str | None, typer.Option(help="the score that measures; the search's own when left out")] = None,
    success_at: Annotated[float, typer.Option(help="the judge's score from which an image is right")] = 1.0,
    budget: Annotated[int | None, typer.Option(help="NFEs per prompt, to spend on steps and candidates")] = None,
    calibration: Annotated[Path | None, typer.Option(help="of the model by its steps, for --budget")] = None,
    seed: Annotated[int, typer.Option(help="of the resampled sets of prompts")] = 0,
    plot: Annotated[Path | None, typer.Option(help="picture to write, such as plan.png")] = None,
    as_json: Json = False,
) -> None:
    """How many samples reach a success rate, and when more stop helping.

    Example: `samplesmith plan outputs/hard --target 0.8 --plot plan.png`
    """
    if (budget is None) != (calibration is None):
        raise ValueError("--budget and --calibration go together; give both or neither")
    check_numbers(seed=seed)
    records, run = _read(source)
    known = sorted({name for record in records for name in record["scores"]})
    judge = judge or run.get("judge")
    if judge is None:
        raise ValueError(
            f"the records have no judge; search with --judge, or name by --judge the score that measures: "
            f"{', '.join(known)}"
        )
    others = [name for name in known if name != judge]
    guide = guide or run.get("verifier") or (others[0] if len(others) == 1 else None)
    if guide is None:
        raise ValueError(f"which score chooses is not known; name by --guide one of {', '.join(known)}")

    from ...evaluation.planning import plan_budget
    from ...pipelines.search.allocation import best_allocation
    from ...pipelines.search.calibration import Calibration

    found = plan_budget(records, guide, judge, target, success_at, seed=seed)
    allocation = None
    if calibration is not None and budget is not None:
        table = Calibration.load(calibration)
        arguments = run.get("arguments", {})
        asked = {"pipeline": run.get("pipeline"), "scheduler": run.get("scheduler"), "verifier": guide}
        asked |= {"guidance_scale": arguments["guidance_scale"]} if "guidance_scale" in arguments else {}
        table.check(**{key: value for key, value in asked.items() if value is not None})
        allocation = best_allocation(table, budget)
    if as_json:
        extra = {} if allocation is None else {"allocation": asdict(allocation)}
        print(to_json(found.as_dict() | extra, indent=2))
    else:
        _print(found)
        if allocation is not None:
            console.print(f"{budget} NFEs buy most as {allocation}.", soft_wrap=True)
    if plot is None:
        return
    from ...evaluation.plan_plot import plot_plan

    with in_one_sentence(f"the picture {plot} (--plot) cannot be written"):
        plot_plan(found, plot)
    if not as_json:
        console.print(f"picture in {plot}", soft_wrap=True)


def _read(source: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records, and what was asked for where a run.json lies beside them."""
    file = source / "records.jsonl" if source.is_dir() else source
    if not file.is_file():
        raise ValueError(f"no records in {source}; name the output folder of a search, or its records.jsonl")
    data = file.read_bytes()
    records = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):  # a crash may leave a torn tail
        try:
            record = json.loads(line)
            whole = {"prompt_index", "nfe", "scores"} <= record.keys() and isinstance(record["scores"], dict)
        except (ValueError, AttributeError):
            whole = False
        if not whole:
            raise ValueError(f"line {number} of {file} is no record; name the records of a search")
        records.append(record)
    try:
        run = json.loads((file.parent / "run.json").read_text())
    except (OSError, ValueError):
        run = {}
    return records, run if isinstance(run, dict) else {}


def _print(found: BudgetPlan) -> None:
    table = Table("samples", f"chosen by {found.guide}", "chosen by an oracle", "NFEs per prompt")
    powers = {2**k for k in range(20)}
    for point in found.points:
        if point.k in powers or point.k == found.candidates:
            table.add_row(str(point.k), str(point.guided), str(point.oracle), f"{point.k * found.nfe:,.0f}")
    console.print(table)
    console.print(f"{found.prompts} prompts, success by {found.judge}, 95 % intervals over prompts.", soft_wrap=True)
    console.print(str(found), highlight=False, soft_wrap=True)
