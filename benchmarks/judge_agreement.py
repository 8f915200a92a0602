r"""How often the judge says what a person says of generated pictures, labelled before it saw them.

    python benchmarks/judge_agreement.py --output benchmarks/results/judge_agreement.json \
        --sheet docs/judge_verdicts.png

`benchmarks/labels/` holds the pictures on one sheet, and for each its prompt, the label, and of some a second label by
the same eye: no training and no threshold ever sees them. Intervals are Wilson's, 95 %.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from samplesmith.pipelines.search.contact_sheet import contact_sheet
from samplesmith.scenes import parse
from samplesmith.training.embedded.explanation import explain
from samplesmith.verifiers import load_verifier
from scipy.stats import binomtest

LABELS = Path(__file__).parent / "labels"
SIDE, COLUMNS = 128, 20


def labelled() -> tuple[list[Image.Image], list[dict]]:
    """The pictures and what is written of each: prompt, right, why, sure, second."""
    written = json.loads((LABELS / "labels.json").read_text())["pictures"]
    with Image.open(LABELS / "pictures.webp") as sheet:
        whole = sheet.convert("RGB")
    corners = [(i % COLUMNS * SIDE, i // COLUMNS * SIDE) for i in range(len(written))]
    return [whole.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners], written


def share(hits: int, total: int) -> dict[str, float | int]:
    interval = binomtest(hits, total).proportion_ci(method="wilson")
    return {"hits": hits, "of": total, "mean": hits / total, "low": interval.low, "high": interval.high}


def agreement(said: list[bool], written: list[dict]) -> dict[str, dict]:
    """How verdicts go with the labels."""
    label = [one["right"] for one in written]
    agree = [a == b for a, b in zip(label, said, strict=True)]
    sure = [same for same, one in zip(agree, written, strict=True) if one["sure"]]
    return {
        "agreement": share(sum(agree), len(agree)),
        "agreement_where_the_label_is_sure": share(sum(sure), len(sure)),
        "wrong_among_right_verdicts": share(sum(s and not t for s, t in zip(said, label, strict=True)), sum(said)),
        "missed_among_right_labels": share(sum(t and not s for s, t in zip(said, label, strict=True)), sum(label)),
    }


def twice(written: list[dict]) -> list[bool]:
    """Whether the second label is the first, of those that have one."""
    return [one["right"] == one["second"] for one in written if one["second"] is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--sheet", type=Path, help="100 pictures with their verdicts, red where the label differs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pictures, written = labelled()
    verdicts = load_verifier(arguments.judge).verdicts(pictures, [one["prompt"] for one in written])
    said = [verdict.right for verdict in verdicts]
    explained = [explain(np.asarray(picture)) for picture in pictures]
    drawn_again = [one.shows(parse(w["prompt"])) for one, w in zip(explained, written, strict=True)]
    result = {
        arguments.judge: agreement(said, written),
        "whole sprites explain it": agreement(drawn_again, written),
        "labelled_twice_alike": share(sum(twice(written)), len(twice(written))),
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    label = [one["right"] for one in written]
    agree = [a == b for a, b in zip(label, said, strict=True)]
    if arguments.sheet:
        differs = [i for i, same in enumerate(agree) if not same]
        others = [i for i, same in enumerate(agree) if same]
        shown = sorted((differs + others)[:100])
        lines = [f"{written[i]['prompt'][:34]}\n{'right' if said[i] else str(verdicts[i])[:60]}" for i in shown]
        marked = [k for k, i in enumerate(shown) if said[i]]
        disputed = [k for k, i in enumerate(shown) if not agree[i]]
        sheet = contact_sheet([pictures[i] for i in shown], lines, 10, marked, disputed)
        sheet.save(arguments.sheet)


if __name__ == "__main__":
    main()
