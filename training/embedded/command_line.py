"""What the command lines of all recipes have in common: options, and errors in one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ..checkpoints import FolderError
from ..loop import NonFiniteError


def recipe_parser(description: str, images: int, needs_autoencoder: bool = True) -> argparse.ArgumentParser:
    """A parser with `--output`, `--images`, `--seed`, `--threads`, `--float32` and, if needed, `--autoencoder`.

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
    parser.add_argument(
        "--float32",
        action="store_true",
        help="compute in float32, not in bfloat16: twice as fast on processors with AVX-512 bf16 but without AMX",
    )
    return parser


def run_recipe(main: Callable[[], None]) -> None:
    """Run a recipe's command line; a run that is refused or diverges says why in one sentence and exits with 2."""
    try:
        main()
    except (FolderError, NonFiniteError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
