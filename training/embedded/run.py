"""One training run on disk: its seed, progress and log; stopped at any moment, it goes on from the last checkpoint."""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline


class Run:
    """Progress of a recipe.

    The schedule counts images, never minutes, so a slower machine trains the same model.

    Args:
        folder: holds `checkpoint.pt` and `log.jsonl`.
        seed: of both generators, `rng` (scenes) and `generator` (everything in torch).
        total_images: where the run ends.
        modules: named modules (and optimizers: anything with `state_dict`) that a checkpoint holds.
    """

    def __init__(self, folder: str | Path, seed: int, total_images: int, modules: dict[str, Any]):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.total_images = total_images
        self.modules = modules
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self.images = 0
        self._seconds_before = 0.0
        self._started = time.monotonic()
        if self.checkpoint_file.exists():
            self._load()

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """In [0, 1]."""
        return min(1.0, self.images / self.total_images)

    @property
    def minutes(self) -> float:
        """Wall minutes of this run, those before a resume included."""
        return (self._seconds_before + time.monotonic() - self._started) / 60

    def advance(self, images: int) -> None:
        self.step += 1
        self.images += images

    def log(self, **figures: float | int | str | dict) -> None:
        """Append a line to the log and print it."""
        line = {"step": self.step, "images": self.images, "minutes": round(self.minutes, 2)}
        line |= {key: round(value, 5) if isinstance(value, float) else value for key, value in figures.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{key} {value}" for key, value in line.items()), flush=True)

    def save(self) -> None:
        """Write the checkpoint in one move: a crash leaves the old one or the new one."""
        state = {name: module.state_dict() for name, module in self.modules.items()}
        progress = {
            "step": self.step,
            "images": self.images,
            "seconds": self.minutes * 60,
            "rng": self.rng.bit_generator.state,
        }
        part = self.checkpoint_file.with_suffix(".part")
        torch.save({"modules": state, "progress": json.dumps(progress), "generator": self.generator.get_state()}, part)
        os.replace(part, self.checkpoint_file)

    def _load(self) -> None:
        saved = torch.load(self.checkpoint_file, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(saved["modules"][name])
        progress = json.loads(saved["progress"])
        self.step, self.images = progress["step"], progress["images"]
        self._seconds_before = progress["seconds"]
        self.rng.bit_generator.state = progress["rng"]
        self.generator.set_state(saved["generator"])
        self.log(resumed="yes")


def recipe_parser(description: str, images: int, needs_autoencoder: bool = True) -> argparse.ArgumentParser:
    """The options that every recipe has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="checkpoints, log and result; a rerun goes on")
    if needs_autoencoder:
        parser.add_argument(
            "--autoencoder", type=Path, required=True, help="left by the autoencoder recipe: OUTPUT/vae"
        )
    parser.add_argument("--images", type=int, default=images, help="where the run ends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Modules draw their weights from the global generator: seed it inside, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """fp16 safetensors, without this machine's paths in the configs; the text encoders' dtype reads float32."""
    half = copy.deepcopy(pipeline).to(torch.float16)
    half.save_pretrained(folder)
    for file in folder.rglob("*.json"):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        if "dtype" in config:
            config["dtype"] = "float32"
        file.write_text(json.dumps(config, indent=2) + "\n")


def images_to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (batch, height, width, 3) to float32 (batch, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def tensor_to_images(images: torch.Tensor) -> np.ndarray:
    """The inverse of `images_to_tensor`, clamped and rounded."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
