"""What a pipeline gets right by the judge, by kind of prompt, and a sheet of its pictures with the verdicts.

    python benchmarks/judged_by_kind.py emoji-sd3 OTHER_FOLDER --output benchmarks/results/judged_by_kind.json

The same prompts and seeds for each model, its own call defaults where its folder has them; bfloat16 autocast. Judged by
emoji-detector, and by whether whole sprites explain the picture (`training/embedded/explanation.py`).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import samplesmith
import torch
from PIL import Image
from samplesmith import scenes
from samplesmith.evaluation.comparison import bootstrap_mean
from samplesmith.pipelines.search.contact_sheet import contact_sheet
from samplesmith.training.embedded.explanation import explain
from samplesmith.verifiers import load_verifier

COUNTS = ("one", "two", "three", "four", "five", "six")
KINDS = (*COUNTS, *scenes.KINDS[1:])
DRAWS = 20_000


def kind_of(scene: scenes.Scene) -> str:
    return COUNTS[scene.total - 1] if scene.kind == "count" else scene.kind


def prompts(per_kind: int, seed: int, held_out: bool | None = None) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    wanted: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for _ in range(DRAWS):  # not every kind has a combination that is held out
        scene = scenes.sample_scene(rng, held_out=held_out)
        found = wanted[kind_of(scene)]
        if len(found) < per_kind and scene.caption not in found:
            found.append(scene.caption)
    return wanted


def call_arguments(model: str, changes: dict) -> dict:
    """A shipped model's call defaults, those of a folder with a card, or emoji-sd3's."""
    card = Path(model) / "samplesmith.json"
    if card.is_file():
        defaults = json.loads(card.read_text())["call_defaults"]
    else:
        defaults = samplesmith.assets.call_defaults(model if model in samplesmith.assets.names() else "emoji-sd3")
    return {**defaults, **{key: value for key, value in changes.items() if value is not None}}


@torch.no_grad()
def run(pipe, judge, captions: list[str], seed: int, call: dict, bf16: bool) -> tuple[np.ndarray, list]:
    images, verdicts = [], []
    for start in range(0, len(captions), 32):
        part = captions[start : start + 32]
        generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(part))]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = pipe(part, generator=generators, output_type="np", **call).images
        out = np.nan_to_num(out)
        images.append((out * 255).round().astype(np.uint8))
        verdicts += judge.verdicts([Image.fromarray(one) for one in images[-1]], part)
    return np.concatenate(images), verdicts


def by_kind(right: np.ndarray, kinds: np.ndarray) -> dict[str, float | str]:
    """Share of right pictures of each kind, of one and two objects together, and of all with its interval."""
    shares = {kind: round(float(right[kinds == kind].mean()), 3) for kind in KINDS if kind in kinds}
    together = round(float(right[np.isin(kinds, COUNTS[:2])].mean()), 3)
    return {**shares, "one and two": together, "all": str(bootstrap_mean(right))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--per-kind", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="seeds a prompt")
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--max-sequence-length", type=int)
    parser.add_argument(
        "--held-out", action="store_true", help="only prompts with a combination that training never saw"
    )
    parser.add_argument("--sheet", type=Path, help="100 pictures of the last model with their verdicts")
    parser.add_argument("--names", type=json.loads, default={}, help="JSON: what a model is called in the result")
    parser.add_argument("--float32", action="store_true", help="no autocast: faster on processors without AMX")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    judge = load_verifier("emoji-detector")
    wanted = prompts(arguments.per_kind, seed=31, held_out=True if arguments.held_out else None)
    captions = [caption for found in wanted.values() for caption in found] * arguments.repeats
    kinds = np.array([kind_of(scenes.parse(caption)) for caption in captions])
    changes = {"guidance_scale": arguments.guidance_scale, "max_sequence_length": arguments.max_sequence_length}
    table = {}
    for model in arguments.models:
        pipe = samplesmith.load(model)
        pipe.set_progress_bar_config(disable=True)
        call = call_arguments(model, changes)
        images, verdicts = run(pipe, judge, captions, 10_000, call, not arguments.float32)
        explained = [
            explain(image).shows(scenes.parse(caption)) for image, caption in zip(images, captions, strict=True)
        ]
        table[arguments.names.get(model, model)] = {
            **by_kind(np.array([verdict.right for verdict in verdicts], float), kinds),
            "explained": by_kind(np.array(explained, float), kinds),
            "call": call,
        }
        print(json.dumps(table), flush=True)
    result = {"images_a_kind": arguments.per_kind * arguments.repeats, "right": table}
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.sheet:
        chosen = np.linspace(0, len(captions) - 1, 100).round().astype(int)
        lines = [f"{captions[i][:34]}\n{'right' if verdicts[i].right else str(verdicts[i])[:40]}" for i in chosen]
        marked = [k for k, i in enumerate(chosen) if verdicts[i].right]
        contact_sheet([Image.fromarray(images[i]) for i in chosen], lines, 10, marked).save(arguments.sheet)


if __name__ == "__main__":
    main()
