"""The options that every recipe has."""

from __future__ import annotations

import argparse
from pathlib import Path


def recipe_parser(description: str, images: int, needs_autoencoder: bool = True) -> argparse.ArgumentParser:
    """A parser with `--output`, `--images`, `--seed`, `--threads` and, where it is needed, `--autoencoder`.

    Args:
        description: the recipe's docstring.
        images: where a run ends by default.
        needs_autoencoder: whether `--autoencoder` is asked for.
    """
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
