"""A job of the command line: it is checked and run, and its outcome printed."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ...pipelines.search.job import SearchJob
from ...valid_json import to_json
from .options import console, errors, make_folder, number_text

if TYPE_CHECKING:
    from ...pipelines import Candidate, SearchResult


def run_and_tell(job: SearchJob, as_json: bool) -> None:
    """Run a job with a bar, print its outcome, and keep it where the job has a folder.

    Args:
        job: not checked yet.
        as_json: print JSON for a script, and no bar.

    Raises:
        ValueError: in one sentence, for a job that cannot be run.
        typer.Exit: with code 1 where every candidate failed.
    """
    job.check()
    output = None if job.output is None else Path(job.output)
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
    nodes = "" if _all_finished(result) else f"{len(result.evaluated)} nodes scored, "
    spent = f"{ledger.nfe} NFEs, {ledger.decodes} decodes, {ledger.verifier_calls} verifier calls"
    console.print(f"{nodes}{spent}, {ledger.seconds:.1f} s")
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
