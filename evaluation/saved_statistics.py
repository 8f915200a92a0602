"""Statistics of a set of images in a file, as pytorch-fid and torch-fidelity's users keep them: mean and covariance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..foreign_errors import in_one_sentence


@dataclass(frozen=True, eq=False)
class SavedStatistics:
    """What a Fréchet distance needs of a set; of how many images it was, a file does not say.

    Attributes:
        mean: (dim,), float64.
        covariance: unbiased, (dim, dim), float64.
    """

    mean: Tensor
    covariance: Tensor


def is_statistics(source: str | Path) -> bool:
    """Whether a name is that of such a file."""
    return Path(source).suffix.lower() == ".npz"


def load_statistics(file: str | Path) -> SavedStatistics:
    """Read an .npz file with the arrays mu (dim,) and sigma (dim, dim).

    Raises:
        ValueError: where it is missing, damaged or holds something else.
    """
    if not Path(file).is_file():
        raise ValueError(f"no file {file}; name an .npz file with mu and sigma")
    with in_one_sentence(f"the statistics {file} cannot be read"), np.load(file, allow_pickle=False) as held:
        if not {"mu", "sigma"} <= set(held.files):
            raise ValueError(f"{file} holds {', '.join(held.files) or 'nothing'}; statistics for FID are mu and sigma")
        mean, covariance = np.asarray(held["mu"]), np.asarray(held["sigma"])
    if mean.ndim != 1 or covariance.shape != (len(mean),) * 2 or not (np.isrealobj(mean) and np.isrealobj(covariance)):
        raise ValueError(
            f"{file} holds mu {mean.shape} and sigma {covariance.shape}; expected (dim,) and (dim, dim), real"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{file} holds NaN or infinity")
    return SavedStatistics(torch.from_numpy(mean.astype(np.float64)), torch.from_numpy(covariance.astype(np.float64)))
