"""Which guide, or which ensemble of guides, chooses best: what part of the judge's own gain each reaches.

    samplesmith calibrate --prompts benchmarks/prompts/validation.txt --judge emoji-detector --output outputs/cal
    python benchmarks/guide_choice.py outputs/cal/steps_28 outputs/cal/steps_8

Each folder is a random search's, with equal numbers of candidates. Every guide and every ensemble of them chooses from
the same pools; so does the judge (the oracle). Take prompts that are not reported on: the best one here is then the
choice for those. Intervals are of 95 %, by a bootstrap over prompts of gain and room together.
"""

import argparse
import json
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
from best_of_n import score
from samplesmith.evaluation.comparison import ratio_of_means
from samplesmith.evaluation.scaling import pools
from samplesmith.verifiers import RankEnsemble, load_verifier
from search_arms import by, by_ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--guides", nargs="+", default=["emoji-clip", "emoji-clip-preview", "emoji-aesthetic"])
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    parts, judge = {guide.name: guide for guide in map(load_verifier, arguments.guides)}, load_verifier(arguments.judge)
    choosers = {name: by(name) for name in parts}
    for count in range(2, len(parts) + 1):
        for names in combinations(parts, count):
            choosers[" + ".join(names)] = by_ranks(RankEnsemble([parts[name] for name in names]), names)
    gains, rooms = {name: [] for name in choosers}, []
    for folder in arguments.folders:
        records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        records = score(folder, records, [*parts.values(), judge])
        for pool in pools(records):
            columns = {name: np.array([r["scores"][name] for r in pool]) for name in (*parts, judge.name)}
            judged = columns[judge.name]
            rooms.append(judged.max() - judged.mean())
            for name, chooser in choosers.items():
                gains[name].append(chooser(columns, len(pool)) @ judged - judged.mean())
    found = {name: asdict(ratio_of_means(gain, rooms)) for name, gain in gains.items()}
    result = {
        "pools": [str(folder.name) for folder in arguments.folders],
        "prompts": len(rooms) // len(arguments.folders),
        "candidates": len(pool),
        "judge": judge.name,
        "share of the oracle's gain": found,
        "best": max(found, key=lambda name: found[name]["mean"]),
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
