"""Best-of-N from one recorded pool, by any guide: every candidate is made once and scored as often as you like.

    samplesmith search --prompts benchmarks/prompts/hard.txt --candidates 16 --output outputs/hard
    python benchmarks/best_of_n.py outputs/hard --guide emoji-clip --output benchmarks/results/best_of_n.json

Scores are those that the search itself would give: pictures are rounded to 8 bits before they are scored.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from samplesmith import scenes
from samplesmith.evaluation.scaling import best_of, pools, ranking_accuracy
from samplesmith.pipelines.search.contact_sheet import contact_sheet
from samplesmith.verifiers import DetectorVerifier, Verifier, load_verifier

KS = (1, 2, 4, 8, 16)


def score(folder: Path, records: list[dict], verifiers: list[Verifier]) -> list[dict]:
    """The records with the scores of these verifiers in place of their own."""
    scored = []
    for pool in pools(records):
        images = [Image.open(folder / record["file"]).convert("RGB") for record in pool]
        columns = {v.name: v(images, pool[0]["prompt"]).tolist() for v in verifiers}
        scored += [{**r, "scores": {n: c[k] for n, c in columns.items()}} for k, r in enumerate(pool)]
    return scored


def by_kind(records: list[dict], guide: str, judge: str, k: int) -> dict[str, dict[str, float]]:
    kinds: dict[str, list[dict]] = {}
    for record in records:
        kinds.setdefault(scenes.parse(record["prompt"]).kind, []).append(record)
    table = {}
    for kind, part in kinds.items():
        first, row = best_of(part, [1, k], guide, judge)
        table[kind] = {
            "prompts": len(pools(part)),
            "best-of-1": round(first.success.mean, 3),
            f"best-of-{k}": round(row.success.mean, 3),
            "oracle": round(row.oracle.mean, 3),
        }
    return table


def verdict_sheet(folder: Path, records: list[dict], judge: DetectorVerifier, file: Path, count: int = 100) -> None:
    """First candidates with the judge's words, for a person to judge the judge."""
    chosen = [records[int(i)] for i in np.linspace(0, len(records) - 1, count).round()]
    images = [Image.open(folder / record["file"]).convert("RGB") for record in chosen]
    verdicts = judge.verdicts(images, [record["prompt"] for record in chosen])
    lines = [
        f"{record['prompt']}\n{'right' if verdict.right else verdict}"
        for record, verdict in zip(chosen, verdicts, strict=True)
    ]
    marked = [k for k, verdict in enumerate(verdicts) if verdict.right]
    contact_sheet(images, lines, columns=10, marked=marked, side=160).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output of a search with equal numbers of candidates")
    parser.add_argument("--guide", default="emoji-clip")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--sheet", type=Path, help="100 candidates with the judge's verdicts")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    records = [json.loads(line) for line in (arguments.folder / "records.jsonl").read_text().splitlines()]
    guide, judge = load_verifier(arguments.guide), load_verifier(arguments.judge)
    records = score(arguments.folder, records, [guide, judge])
    rows = best_of(records, KS, arguments.guide, arguments.judge)
    four = rows[KS.index(4)]
    result = {
        "prompts": len(pools(records)),
        "candidates per prompt": len(records) // len(pools(records)),
        "guide": arguments.guide,
        "judge": arguments.judge,
        "run": json.loads((arguments.folder / "run.json").read_text())["arguments"],
        "best_of": [asdict(row) for row in rows],
        "share of the oracle's gain at best-of-4": four.gain.mean / (four.oracle.mean - rows[0].success.mean),
        "right above wrong": ranking_accuracy(records, arguments.guide, arguments.judge),
        "by kind": by_kind(records, arguments.guide, arguments.judge, 16),
    }
    for row in rows:
        print(f"best-of-{row.k}: score {row.score}, judge {row.success}, oracle {row.oracle}, gain {row.gain}")
    print(json.dumps({key: value for key, value in result.items() if key != "best_of"}, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.sheet:
        verdict_sheet(arguments.folder, records, judge, arguments.sheet)


if __name__ == "__main__":
    main()
