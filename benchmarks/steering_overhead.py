"""What steering itself costs beside the model, the decodes and the verifier: in windows, and in a pipeline's own loop.

    PYTHONPATH=tests python benchmarks/steering_overhead.py --output benchmarks/results/steering_overhead.json

The model's forwards, the autoencoder's decodes and the verifier's calls are timed where they are made; all else of a
search's wall time, by its ledger in windows and by the clock around the call in the loop, is its own: the pipeline's
code between two model calls, what a window prepares anew, noises, choices and records. Both seams run the same strategy
over the same nodes. The models: emoji-sd3, and a StableDiffusionXLPipeline with a random UNet of more than 100 M
parameters at 64 x 64 latents, whose forwards cost what real ones do. Shares are medians over rounds with their range.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import samplesmith
import torch
from diffusers import UNet2DConditionModel
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import denoisers
from samplesmith.pipelines.initial_noises import initial_noises
from samplesmith.pipelines.latent_score import LatentScore
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import SteeredScheduler
from samplesmith.samplers.by_name import set_up
from samplesmith.verifiers import CallableVerifier, Verifier, load_verifier

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # where the toys are

PARTS = ("model", "decode", "verifier")
PROMPT = "two cats and three stars on blue"
LARGE = {"block_out_channels": (64, 128, 640), "transformer_layers_per_block": (1, 1, 2), "layers_per_block": 2}
"""Of the large UNet: most weights stand where SDXL has them, in the transformers of the lowest resolution."""


@contextmanager
def timed(pipe: Any, verifier: Verifier) -> Iterator[dict[str, float]]:
    """Seconds spent in the denoiser, the autoencoder's decode and the verifier while the context is open."""
    spent = dict.fromkeys(PARTS, 0.0)

    def clock(part: str) -> Any:
        def call(original: Any, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - start

        return call

    with ExitStack() as stack:
        for network in denoisers(pipe):
            stack.enter_context(shadowed(network, "forward", clock("model")))
        stack.enter_context(shadowed(pipe.vae, "decode", clock("decode")))
        stack.enter_context(shadowed(verifier, "score", clock("verifier")))
        yield spent


def in_windows(
    pipe: Any, verifier: Verifier, strategy: str, calls: int, rows: int, steps: int, **call: Any
) -> dict[str, float]:
    """Seconds of a search in windows, by part; `calls` model calls of one row, `rows` candidates at once."""
    budget = calls * (2 if call["guidance_scale"] > 1 else 1)
    search = NoiseSearch(pipe, verifier, strategy)
    with timed(pipe, verifier) as spent:
        result = search(PROMPT, budget=budget, batch_size=rows, num_inference_steps=steps, progress=False, **call)
    assert budget - 2 < result.ledger.nfe <= budget
    return {**spent, "all": result.ledger.seconds, "nodes": len(result.evaluated)}


def in_the_loop(pipe: Any, verifier: Verifier, strategy: str, calls: int, steps: int, **call: Any) -> dict[str, float]:
    """Seconds of the same search of one row in the pipeline's own loop, by part."""
    before = pipe.scheduler
    scheduler = SteeredScheduler.from_scheduler(before, steps=steps)
    score = LatentScore(pipe, verifier, PROMPT, call.get("height"), call.get("width"))
    pipe.scheduler = scheduler
    with initial_noises(pipe) as noise, timed(pipe, verifier) as spent, torch.no_grad():
        scheduler.steer_by(strategy, score, 0, noise)
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(0)
        pipe(PROMPT, num_inference_steps=calls, generator=generator, output_type="np", **call)
        seconds = time.perf_counter() - start
    pipe.scheduler = before
    return {**spent, "all": seconds, "nodes": len(scheduler.visited[0])}


def emoji_sd3() -> tuple[Any, Verifier, dict[str, Any]]:
    call = samplesmith.assets.call_defaults("emoji-sd3")
    del call["num_inference_steps"]
    return samplesmith.load("emoji-sd3"), load_verifier("emoji-clip"), call


def large_sdxl() -> tuple[Any, Verifier, dict[str, Any]]:
    import toys

    pipe = toys.build("StableDiffusionXL")
    config = {**{key: value for key, value in pipe.unet.config.items() if not key.startswith("_")}, **LARGE}
    config |= {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (4, 4, 10),
        "norm_num_groups": 32,
    }
    with torch.random.fork_rng():  # networks draw their first weights from the global generator
        torch.manual_seed(0)
        pipe.register_modules(unet=UNet2DConditionModel(**config).eval())
    side = 64 * pipe.vae_scale_factor
    light = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="light")
    return pipe, light, {"height": side, "width": side, "guidance_scale": 1.0}


def measured(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over rounds: seconds by part, the own share of all, and milliseconds of its own per node."""
    own = [one["all"] - sum(one[part] for part in PARTS) for one in rounds]
    shares = [value / one["all"] for value, one in zip(own, rounds, strict=True)]
    return {
        "nodes": rounds[0]["nodes"],
        "seconds": {part: statistics.median(one[part] for one in rounds) for part in (*PARTS, "all")},
        "own share": statistics.median(shares),
        "range": [min(shares), max(shares)],
        "own milliseconds per node": 1000
        * statistics.median(value / one["nodes"] for value, one in zip(own, rounds, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=112, help="model calls of a search on emoji-sd3")
    parser.add_argument("--large-calls", type=int, default=12, help="and on the large model; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = {"emoji-sd3": (emoji_sd3, arguments.calls, 8), "SDXL, large": (large_sdxl, arguments.large_calls, 4)}
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    }
    for name, (load, calls, steps) in models.items():
        if not calls:
            continue
        pipe, verifier, call = load()
        network = denoisers(pipe)[0]
        rows: dict[str, list[dict[str, float]]] = {}
        with set_up(pipe, "stochastic"):
            for _ in range(arguments.rounds):  # in turn, as the machine's speed wanders
                one = {"steps": steps, "calls": calls, **call}
                rows.setdefault("windows, batch 1", []).append(
                    in_windows(pipe, verifier, "threshold:seen=1", rows=1, **one)
                )
                rows.setdefault("loop, batch 1", []).append(in_the_loop(pipe, verifier, "threshold:seen=1", **one))
                if name == "emoji-sd3":
                    rows.setdefault("windows, batch 8", []).append(in_windows(pipe, verifier, "smc", rows=8, **one))
        found[name] = {
            "parameters": sum(one.numel() for one in network.parameters()),
            "model calls": calls,
            "steps": steps,
            **{seam: measured(rounds) for seam, rounds in rows.items()},
        }
        print(json.dumps({name: found[name]}, indent=2), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
