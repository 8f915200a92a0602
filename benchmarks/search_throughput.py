"""Candidates per second of NoiseSearch against two loops that a user would write, in one run.

    python benchmarks/search_throughput.py --output benchmarks/results/search_throughput.json

Arms, same steps, dtype, sequence length and verifier: "plain" calls the pipeline once a candidate and encodes its
prompt each time; "batched" is `pipe(p, num_images_per_prompt=8, generator=[...])` and the verifier, in a loop.
The arms take turns; the ratio is formed round by round, so a machine whose speed wanders does not favour one.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import samplesmith
import torch
from samplesmith.pipelines import NoiseSearch
from samplesmith.verifiers import Verifier, load_verifier


def plain(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> float:
    best = -float("inf")
    for seed in range(count):
        image = pipe(prompt, generator=torch.Generator().manual_seed(seed), **arguments).images
        best = max(best, float(verifier(image, prompt)[0]))
    return best


def batched(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> float:
    best = -float("inf")
    for start in range(0, count, batch_size):
        generators = [torch.Generator().manual_seed(seed) for seed in range(start, start + batch_size)]
        images = pipe(prompt, num_images_per_prompt=batch_size, generator=generators, **arguments).images
        best = max(best, float(verifier(images, prompt).max()))
    return best


def ours(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> float:
    search = NoiseSearch(pipe, verifier)
    return search(prompt, num_candidates=count, batch_size=batch_size, progress=False, **arguments).best[0].score


ARMS: dict[str, Callable[..., float]] = {"plain": plain, "batched": batched, "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipe, verifier = samplesmith.load(arguments.model), load_verifier("emoji-clip")
    pipe.set_progress_bar_config(disable=True)
    defaults = samplesmith.assets.call_defaults(arguments.model)
    prompt = "two cats and three stars on blue"
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    with torch.no_grad():
        for arm in ARMS.values():  # warm-up
            arm(pipe, verifier, prompt, arguments.batch_size, arguments.batch_size, defaults)
        for _ in range(arguments.rounds):
            scores = {}
            for name, arm in ARMS.items():
                started = time.perf_counter()
                scores[name] = arm(pipe, verifier, prompt, arguments.candidates, arguments.batch_size, defaults)
                seconds[name].append(time.perf_counter() - started)
            assert max(scores.values()) - min(scores.values()) < 1e-2, scores
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "model": arguments.model,
        "call": defaults,
        "candidates": arguments.candidates,
        "batch_size": arguments.batch_size,
        "candidates_per_second": {
            name: arguments.candidates / statistics.median(values) for name, values in seconds.items()
        },
    }
    for rival in ("plain", "batched"):
        ratios = sorted(a / b for a, b in zip(seconds[rival], seconds["ours"], strict=True))
        result[f"ratio_to_{rival}"] = {"min": ratios[0], "median": statistics.median(ratios), "max": ratios[-1]}
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
