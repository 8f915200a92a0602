"""Searches of search_scaling.py: made once, kept on disk, and gone on with by the next call."""

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import samplesmith
import torch
from PIL import Image
from prompt_files import read_evenly
from samplesmith.evaluation.diversity import diversity
from samplesmith.pipelines import NoiseSearch, decode, record_previews
from samplesmith.pipelines.search.engine import SEEDS_PER_PROMPT
from samplesmith.pipelines.search.look import Look
from samplesmith.samplers.strategies import Halving, make_strategy
from samplesmith.verifiers import load_verifier
from samplesmith.verifiers.images import to_tensor
from search_arms import Pool, Row

REPEATS, REPEAT_SEED = 2, 50_000
LOOK_BATCH, LOOK_ROUNDS = 8, 5
"""Clean predictions per batch, and batches, by which a look is timed."""


class Bench:
    """The models, and the searches that are on record or made."""

    def __init__(self, arguments: argparse.Namespace):
        self.work = arguments.work
        self.pipe = samplesmith.load(arguments.model)
        self.call = samplesmith.assets.call_defaults(arguments.model)
        self.default_steps = self.call.pop("num_inference_steps")
        self.guide, self.judge = load_verifier(arguments.guide), load_verifier(arguments.judge)
        named = {measure: getattr(arguments, measure, None) for measure in ("aesthetic", "preview")}
        self.others = {measure: load_verifier(name) for measure, name in named.items() if name}
        self.guides = {"score": self.guide, **self.others}
        self.deadline = time.monotonic() + 60 * arguments.minutes
        self.prompts = read_evenly(arguments.prompt_file, arguments.prompts)

    def search(self, name: str, prompts: list[str], guide: Any, strategy: Any, **how: Any) -> Any:
        """What a strategy finds, by the bench's judge too."""
        return self.run(NoiseSearch(self.pipe, guide, strategy, judge=self.judge), name, prompts, **how)

    def run(self, search: NoiseSearch, name: str, prompts: list[str], **how: Any) -> Any:
        """The outcome of a search, which is kept in the folder of this name; the script ends when its minutes do."""
        folder = self.work / name
        print(f"{name}: {len(prompts)} prompts", flush=True)
        result = search(
            prompts,
            output_dir=folder,
            progress=sys.stdout.isatty(),
            on_batch=lambda report: time.monotonic() < self.deadline,
            **self.call,
            **how,
        )
        if time.monotonic() >= self.deadline:
            sys.exit(f"the minutes are over in {folder}; the same command goes on from there")
        return result

    def see(self, folder: Path, files: list[str], prompts: list[str]) -> dict[str, np.ndarray]:
        """Scores and the guide's features of pictures; kept beside them."""
        kept = folder / "seen.npz"
        if kept.exists() and list((found := dict(np.load(kept)))["files"]) == files:
            return found
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, len(files), 32):
            images = [Image.open(folder / file).convert("RGB") for file in files[start : start + 32]]
            asked = prompts[start : start + 32]
            pixels = torch.cat([to_tensor(image) for image in images])
            with torch.no_grad():
                features = self.guide.image_features(pixels)
                score = (features * self.guide.text_features(asked)).sum(1)
            found = {"features": features, "score": score}
            found["success"] = self.judge(pixels, asked)
            found |= {name: verifier(pixels, asked) for name, verifier in self.others.items()}
            parts.append({key: value.numpy() for key, value in found.items()})
        found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} | {"files": np.array(files)}
        np.savez(kept, **found)
        return found

    def pool(self, steps: int, candidates: int, looks: Mapping[str, int]) -> Pool:
        """A random search's candidates, and what guides say at their `looks` (steps made, by measure)."""
        name = f"pool_{steps}_steps_{len(self.prompts)}x{candidates}"
        looking = [Look(self.guides[measure], (step,)) for measure, step in looks.items()]
        how = {"num_candidates": candidates, "num_inference_steps": steps, "looks": looking}
        result = self.search(name, self.prompts, self.guide, "random", **how)
        records = [candidate.record.to_json() for pool in result.candidates for candidate in pool]
        found = self.see(self.work / name, [r["file"] for r in records], [r["prompt"] for r in records])
        shape = len(self.prompts), candidates
        measures = ("score", "success", *self.others)
        scores = {measure: found[measure].reshape(shape).astype(float) for measure in measures}
        for look, (measure, step) in zip(looking, looks.items(), strict=True):
            early = [record["scores"][look.name(step)] for record in records]
            scores[f"{measure} at {step}"] = np.array(early).reshape(shape)
        took = self.time_looks(self.work / name, steps, looks)
        seconds = result.ledger.seconds / len(records) - sum(took.values())
        features = found["features"].reshape(*shape, -1)
        return Pool(steps, records[-1]["nfe"], seconds, scores, features, next(iter(took.values()), 0.0))

    @torch.no_grad()
    def time_looks(self, folder: Path, steps: int, looks: Mapping[str, int]) -> dict[str, float]:
        """Seconds per candidate of each look, by measure: decoding a batch of clean predictions, and scoring it.

        They are measured once, and kept beside the search's records.
        """
        kept = folder / "looks.json"
        if kept.exists() and (took := json.loads(kept.read_text())).keys() == looks.keys():
            return took
        prompt, generators = self.prompts[0], [torch.Generator().manual_seed(seed) for seed in range(LOOK_BATCH)]
        with record_previews(self.pipe, sorted({step - 1 for step in looks.values()})) as previews:
            self.pipe(
                prompt,
                num_images_per_prompt=LOOK_BATCH,
                num_inference_steps=steps,
                generator=generators,
                output_type="latent",
                **self.call,
            )
        took = {}
        for measure, step in looks.items():
            times = []
            for _ in range(LOOK_ROUNDS):
                start = time.perf_counter()
                self.guides[measure]((decode(self.pipe, previews.latents[step - 1]) * 255).round() / 255, prompt)
                times.append(time.perf_counter() - start)
            took[measure] = statistics.median(times) / LOOK_BATCH
        kept.write_text(json.dumps(took) + "\n")
        return took

    def searched(self, setting: str, chosen: np.ndarray, pool: Pool, k: int, budget: int) -> Row | None:
        """A row of a strategy that is run for its budget; None where the budget is below one candidate."""
        if budget < pool.nfe:
            return None
        prompts = [self.prompts[i] for i in chosen]
        rows, features, nfe, seconds = [], [], 0.0, 0.0
        for repeat in range(REPEATS):
            strategy = re.sub(r"[^a-z0-9.-]+", "_", setting)
            name = f"{strategy}_{self.guide.name}_{pool.steps}_steps_best_of_{k}_{len(prompts)}_prompts_{repeat}"
            result = self.search(
                name,
                prompts,
                self.guide,
                make_strategy(setting),
                seed=repeat * REPEAT_SEED,
                num_inference_steps=pool.steps,
                num_candidates=budget // pool.nfe,
            )
            found = self.see(self.work / name, [c.record.file for c in result.best], prompts)
            rows.append({measure: found[measure].astype(float) for measure in ("score", "success", *self.others)})
            features.append(found["features"])
            nfe += result.ledger.nfe / len(prompts) / REPEATS
            seconds += result.ledger.seconds / len(prompts) / REPEATS
        values = {measure: np.mean([row[measure] for row in rows], 0) for measure in rows[0]}
        values["diversity"] = np.array([diversity(np.stack(pair)) for pair in zip(*features, strict=True)])
        return Row(setting.split(":")[0], pool.steps, budget, budget // pool.nfe, nfe, seconds, chosen, values)

    def run_halving(self, halving: Halving, measure: str, pool: Pool, row: Row, prompts: int) -> dict[str, Any]:
        """Halving as it runs, beside what the pool says of it: the same winners, at what cost.

        Args:
            halving: with its one look.
            measure: of the guide.
            pool: whose first candidates the search starts with, as its seeds are the same.
            row: of the pool, for the budget.
            prompts: how many of the first.
        """
        look, _ = halving.ends(pool.steps)
        guide = self.guides[measure]
        name = f"halving_{guide.name}_{pool.steps}_steps_{row.budget}_nfe_{prompts}_prompts"
        result = self.search(
            name, self.prompts[:prompts], guide, halving, budget=row.budget, num_inference_steps=pool.steps
        )
        same = 0
        for i, best in enumerate(result.best):
            early = pool.scores[f"{measure} at {look}"][i, : int(row.candidates)]
            racing = np.argsort(-early, kind="stable")[: halving.survivors(int(row.candidates))]
            same += int(best.seed % SEEDS_PER_PROMPT == racing[pool.scores[measure][i, racing].argmax()])
        return {
            "guide": guide.name,
            "steps": pool.steps,
            "budget": row.budget,
            "prompts": prompts,
            "same winners": same,
            "NFEs": [row.nfe, result.ledger.nfe / prompts],
            "seconds": [row.seconds, result.ledger.seconds / prompts],
        }
