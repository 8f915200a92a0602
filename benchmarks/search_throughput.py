"""Candidates per second of NoiseSearch against loops that a user would write, in one run.

    python benchmarks/search_throughput.py --output benchmarks/results/search_throughput.json

Arms, same steps, dtype, sequence length, verifier and noises: "plain" calls the pipeline once per candidate and encodes
its prompt each time, as the open scripts for noise search do, for random and for zero-order search; "batched" is
`pipe(p, num_images_per_prompt=8, generator=[...])` and the verifier, in a loop, for random search.
The arms take turns; the ratio is formed round by round, so a machine whose speed wanders does not favour one. Each
round has a prompt of its own, and all arms of a search are to find the same winner.
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
from prompt_files import HARD, read_evenly
from samplesmith.pipelines import NoiseSearch
from samplesmith.samplers.noise import direction_seed, rotate
from samplesmith.samplers.strategies import Strategy, ZeroOrder
from samplesmith.verifiers import Verifier, load_verifier

NEIGHBOURS, ANGLE = 4, 0.4
Winner = tuple[int, float]
"""Which candidate, in the order of evaluation, and its score."""


def plain(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> Winner:
    winner = (-1, -float("inf"))
    for seed in range(count):
        image = pipe(prompt, generator=torch.Generator().manual_seed(seed), **arguments).images
        score = float(verifier(image, prompt)[0])
        winner = (seed, score) if score > winner[1] else winner
    return winner


def batched(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> Winner:
    winner = (-1, -float("inf"))
    for start in range(0, count, batch_size):
        generators = [torch.Generator().manual_seed(seed) for seed in range(start, start + batch_size)]
        images = pipe(prompt, num_images_per_prompt=batch_size, generator=generators, **arguments).images
        scores = verifier(images, prompt)
        k = int(scores.argmax())
        winner = (start + k, float(scores[k])) if scores[k] > winner[1] else winner
    return winner


def plain_zero_order(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> Winner:
    """A pivot and its neighbours, one a call; the noises are those of `ZeroOrder`, so that winners can be compared."""
    config = pipe.transformer.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)

    def noise(seed: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    winner, pivot, tried, iteration = (-1, -float("inf")), None, 0, 0
    while tried < count:
        if pivot is None:
            candidates = [noise(seed) for seed in range(NEIGHBOURS)]
        else:
            turns = (noise(direction_seed(0, iteration, k)) for k in range(NEIGHBOURS))
            candidates = [rotate(pivot, turn, ANGLE) for turn in turns]
            iteration += 1
        for candidate in candidates[: count - tried]:
            score = float(verifier(pipe(prompt, latents=candidate, **arguments).images, prompt)[0])
            if score > winner[1]:
                winner, pivot = (tried, score), candidate
            tried += 1
    return winner


def ours(strategy: Strategy | str) -> Callable[..., Winner]:
    def search(pipe, verifier: Verifier, prompt: str, count: int, batch_size: int, arguments: dict) -> Winner:
        result = NoiseSearch(pipe, verifier, strategy)(
            prompt, num_candidates=count, batch_size=batch_size, progress=False, **arguments
        )
        return result.best[0].record.index, result.best[0].score

    return search


SEARCHES: dict[str, dict[str, Callable[..., Winner]]] = {
    "random": {"plain": plain, "batched": batched, "ours": ours("random")},
    "zero-order": {"plain": plain_zero_order, "ours": ours(ZeroOrder(NEIGHBOURS, ANGLE))},
}


def race(arms: dict[str, Callable[..., Winner]], pipe, verifier, prompts: list[str], options: argparse.Namespace, call):
    """Each arm on each prompt, in turns."""
    count, batch_size = options.candidates, options.batch_size
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    equal = 0
    for arm in arms.values():  # warm-up
        arm(pipe, verifier, prompts[0], batch_size, batch_size, call)
    for prompt in prompts:
        winners = {}
        for name, arm in arms.items():
            started = time.perf_counter()
            winners[name] = arm(pipe, verifier, prompt, count, batch_size, call)
            seconds[name].append(time.perf_counter() - started)
        equal += len({index for index, _ in winners.values()}) == 1
        scores = [score for _, score in winners.values()]
        print(f"{prompt}: {winners}", flush=True)
        assert max(scores) - min(scores) < 1e-2, winners
    found = {
        "candidates_per_second": {name: count / statistics.median(values) for name, values in seconds.items()},
        "rounds with equal winners": f"{equal} of {len(prompts)}",
    }
    for rival in (name for name in arms if name != "ours"):
        ratios = sorted(a / b for a, b in zip(seconds[rival], seconds["ours"], strict=True))
        found[f"ratio_to_{rival}"] = {"min": ratios[0], "median": statistics.median(ratios), "max": ratios[-1]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji-sd3", help="a shipped StableDiffusion3Pipeline")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="in place of the model's")
    parser.add_argument("--searches", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe, verifier = samplesmith.load(options.model), load_verifier("emoji-clip")
    pipe.set_progress_bar_config(disable=True)
    call = samplesmith.assets.call_defaults(options.model)
    call |= {} if options.steps is None else {"num_inference_steps": options.steps}
    prompts = read_evenly(HARD, options.rounds)
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "model": options.model,
        "call": call,
        "candidates": options.candidates,
        "batch_size": options.batch_size,
    }
    with torch.no_grad():
        for name in options.searches:
            result[name] = race(SEARCHES[name], pipe, verifier, prompts, options, call)
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
