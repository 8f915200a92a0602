"""`samplesmith search`: the best image of a prompt, by its noise."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ...pipelines.search.job import SearchJob
from ...valid_json import to_json
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
    console,
    errors,
    given_arguments,
    make_folder,
    number_text,
    read_prompts,
    read_steps,
)

if TYPE_CHECKING:
    from ...pipelines import Candidate, SearchResult


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
    job.check()
    if output is not None:
        make_folder(output)
    result = job.run(progress=not as_json)
    if not result.whole:  # of several processes the last to end says it all
        return
    if as_json:
        print(to_json(_search_summary(result), indent=2))
    else:
        _print_search(result, output)
    if output is not None:
        result.save(output)
    if result.failed:
        again = "the same command tries them again" if output is not None else "with --output a rerun tries them again"
        reason = result.best[0].reason
        errors.print(f"samplesmith: every candidate failed ({reason}); {again}", style="red", soft_wrap=True)
        raise typer.Exit(1)


def _search_summary(result: SearchResult) -> dict[str, Any]:
    """What `--json` prints; with a judge also best-of-k, by expectation over subsets of the pools."""
    from dataclasses import asdict

    chosen = [_chosen(best, pool) for best, pool in zip(result.best, result.candidates, strict=True)]
    summary = {"verifier": result.verifier, "judge": result.judge, "best": chosen, "ledger": result.ledger.as_dict()}
    if result.allocation is not None:
        summary["allocation"] = asdict(result.allocation)
    sizes = {len(pool) for pool in result.candidates}
    if result.judge and _all_finished(result) and len(sizes) == 1 and result.verifier in result.best[0].scores:
        summary |= _best_of(result, result.judge, min(sizes))
    return summary


def _chosen(best: Candidate, pool: list[Candidate]) -> dict[str, Any]:
    """The best of a prompt; what is not known is null, and `reason` or `missing` say why."""
    record = best.record
    why = {key: value for key, value in (("reason", record.reason), ("missing", record.missing)) if value}
    return {
        "prompt": best.prompt,
        "seed": best.seed,
        "status": record.status,
        "score": best.score if isfinite(best.score) else None,
        "scores": best.scores,
        "mean_score": _mean([one.score for one in pool]),
        "failed": sum(one.reason is not None for one in pool),
        "file": record.file,
        **why,
    }


def _best_of(result: SearchResult, judge: str, size: int) -> dict[str, Any]:
    from dataclasses import asdict

    from ...evaluation.scaling import best_of, ranking_accuracy

    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= size]
    try:
        rows = best_of(result.records, ks, result.verifier, judge)
        accuracy = ranking_accuracy(result.records, result.verifier, judge)
    except ValueError as error:
        return {"best_of": None, "right_above_wrong": None, "best_of_reason": str(error)}
    found = {"best_of": [asdict(row) for row in rows], "right_above_wrong": accuracy}
    if not isfinite(accuracy):
        found |= {
            "right_above_wrong": None,
            "right_above_wrong_reason": "no prompt has both right and wrong candidates",
        }
    return found


def _mean(values: list[float | None]) -> float | None:
    finite = [value for value in values if value is not None and isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _all_finished(result: SearchResult) -> bool:
    """Whether its pools are all that was tried; halving finishes the better ones alone."""
    return all(candidate.finished for candidate in result.evaluated)


def _print_search(result: SearchResult, output: Path | None) -> None:
    shown = min(len(result.best), 20)
    several = len(result.best) > 1
    columns = [*(["prompt"] if several else []), "candidates", f"best {result.verifier}", "mean", "seed", "NFEs"]
    table = Table(*columns, title=None if several else str(result.best[0].prompt))
    if result.judge:
        table.add_column(f"{result.judge} of {'best-of-1' if _all_finished(result) else 'those finished'}")
        table.add_column("of the best")
    for best, pool in list(zip(result.best, result.candidates, strict=True))[:shown]:
        row = [
            *([str(best.prompt)] if several else []),
            str(len(pool)),
            number_text(best.score, ".4f"),
            number_text(_mean([c.score for c in pool]), ".4f"),
            str(best.seed),
            str(pool[-1].record.nfe_so_far),
        ]
        if result.judge:
            judged = [c.scores.get(result.judge) for c in pool]
            row += [number_text(_mean(judged), ".2f"), number_text(best.scores.get(result.judge), "g")]
        table.add_row(*row)
    console.print(table)
    if len(result.best) > shown:
        console.print(f"and {len(result.best) - shown} prompts more")
    if result.allocation is not None:
        console.print(f"the calibration chose {result.allocation}", soft_wrap=True)
    ledger = result.ledger
    console.print(
        f"{ledger.nfe} NFEs, {ledger.decodes} decodes, {ledger.verifier_calls} verifier calls, {ledger.seconds:.1f} s"
    )
    if result.judge and len(result.best) == 1 and _all_finished(result):
        judged = [c.scores.get(result.judge) for c in result.candidates[0]]
        first, chosen = (number_text(one, "g") for one in (judged[0], result.best[0].scores.get(result.judge)))
        rate = number_text(_mean(judged), ".0%")
        console.print(
            f"{result.judge}: first candidate {first}, chosen {chosen}; best-of-1 rate of this prompt {rate} "
            f"({len(judged)} candidates)"
        )
    _print_failures(result)
    if output is not None:
        console.print(f"pictures and records in {output}: contact_sheet.png, best.png, records.jsonl")


def _print_failures(result: SearchResult) -> None:
    """Why candidates or judgements are lost, each reason once."""
    lost: dict[str, int] = {}
    for record in result.records:
        if "reason" in record:
            why = f"failed: {record['reason']}"
            lost[why] = lost.get(why, 0) + 1
        for name, reason in record.get("missing", {}).items():
            why = f"have no score of {name}: {reason}"
            lost[why] = lost.get(why, 0) + 1
    for why, count in lost.items():
        errors.print(f"samplesmith: {count} of {len(result.records)} candidates {why}", style="yellow", soft_wrap=True)
