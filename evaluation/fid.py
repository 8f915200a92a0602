"""How far generated images are from real ones: Fréchet distance, kernel distance, precision and recall.

Features are any function of images, so the same measures serve Inception (FID, KID) and a classifier of one's own. The
Fréchet distance is ours, because the libraries' take the root of an unsymmetric product and sum uncentred; the kernel
distance and precision and recall are torch-fidelity's, called in float64 and with a generator of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from .image_batches import ImageSource, image_batches, unlike_images
from .saved_statistics import SavedStatistics

Features = nn.Module | Callable[[Tensor], Tensor]
"""A module or function: float images (batch, 1 or 3, height, width) in [0, 1] -> (batch, dim)."""

_PRECISION_CHUNK = 1000
"""Rows of a distance matrix that are held at once."""


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and covariance of features, in float64, independent of the batches that they came in.

    `a + b` holds both sets. Parts are merged about their own means (Chan, Golub and LeVeque 1979), so a large common
    offset costs no digits.

    Attributes:
        count: rows.
        mean: (dim,).
        scatter: sum of (x - mean)(x - mean)^T, (dim, dim).
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureStatistics:
        """Statistics of features (rows, dim); of no rows they are zero."""
        features = features.detach().cpu().double()
        mean = features.sum(0) / max(len(features), 1)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + (self.count * other.count / count) * torch.outer(shift, shift)
        return FeatureStatistics(count, self.mean + shift * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """Unbiased (divided by count - 1), (dim, dim)."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, not {self.count}")
        return self.scatter / (self.count - 1)

    def all_reduce(self) -> FeatureStatistics:
        """The statistics of all processes together; itself where torch.distributed is not initialised."""
        if not _is_distributed():
            return self
        shares = _gathered((self.count, len(self.mean)))
        count, dim = sum(rows for rows, _ in shares), max(width for _, width in shares)
        mean = self.mean if self.count else torch.zeros(dim, dtype=torch.float64)
        scatter = self.scatter if self.count else torch.zeros(dim, dim, dtype=torch.float64)
        total = _summed(self.count * mean) / max(count, 1)
        shift = mean - total
        return FeatureStatistics(count, total, _summed(scatter + self.count * torch.outer(shift, shift)))


@dataclass(frozen=True)
class Comparison:
    """Generated images against real ones.

    Attributes:
        real, generated: number of images.
        fid: Fréchet distance of the features (arXiv 1706.08500); 0 is equal, and it falls with the number of images.
        fid_error: its standard error over generated sets of this size, the real set held fixed.
        kid_mean, kid_std: unbiased kernel distance (arXiv 1801.01401) over subsets; 0 in the mean is equal.
        precision: share of generated images among the real ones' neighbourhoods (arXiv 1904.06991).
        recall: share of real images among the generated ones' neighbourhoods.
    """

    real: int
    generated: int
    fid: float
    fid_error: float
    kid_mean: float
    kid_std: float
    precision: float
    recall: float


def fid(
    real: ImageSource | FeatureStatistics | SavedStatistics,
    generated: ImageSource | FeatureStatistics | SavedStatistics,
    features: Features,
    batch_size: int = 64,
) -> float:
    """Fréchet distance of two sets of images, in one pass and constant memory.

    Under torch.distributed each process gives its own share of both sets, and all get the distance of the whole.

    Args:
        real, generated: a folder, a tensor, an array, an iterable of batches (see `image_batches`), or what
            `feature_statistics` or `load_statistics` gave, as a real set that serves many comparisons.
        features: images (batch, 1 or 3, height, width) in [0, 1] -> (batch, dim).
        batch_size: of folders, tensors and arrays.

    Raises:
        ValueError: for fewer than two images, and for images or features that cannot be used.
    """
    first, second = (
        source
        if isinstance(source, FeatureStatistics | SavedStatistics)
        else feature_statistics(source, features, batch_size, name)
        for source, name in ((real, "real"), (generated, "generated"))
    )
    for one, name in ((first, "real"), (second, "generated")):
        if isinstance(one, FeatureStatistics) and one.count < 2:
            raise ValueError(f"there are {one.count} {name} images; the distance needs at least 2 of each set")
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


def compare(
    real: ImageSource,
    generated: ImageSource,
    features: Features,
    batch_size: int = 64,
    neighbours: int = 3,
    kid_subsets: int = 100,
    kid_subset_size: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Fréchet distance with its error, kernel distance, precision and recall of two sets of images.

    Keeps the features of both sets. Under torch.distributed each process gives its own share, process 0 the first of
    the images: then all numbers are those of one process. For shares that were dealt out otherwise see
    `gathered_features`.

    Args:
        real, generated, features, batch_size: as for `fid`, but for statistics.
        neighbours, kid_subsets, kid_subset_size, seed: as for `compare_features`.

    Raises:
        ValueError: for too few images, and for images or features that cannot be used.
    """
    first, second = (
        gathered_features(source, features, batch_size, name)
        for source, name in ((real, "real"), (generated, "generated"))
    )
    return compare_features(first, second, neighbours, kid_subsets, kid_subset_size, seed)


def compare_features(
    real: Tensor,
    generated: Tensor,
    neighbours: int = 3,
    kid_subsets: int = 100,
    kid_subset_size: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare features that `extract_features` gave, (rows, dim) each.

    Args:
        neighbours: k of the k-nearest-neighbour balls of precision and recall.
        kid_subsets: subsets that are drawn for the kernel distance.
        kid_subset_size: images of each; None: 1,000, or half of the smaller set where that is fewer.
        seed: of the draw.

    Raises:
        ValueError: for too few images of either set, or without torch-fidelity.
    """
    fewest = min(len(real), len(generated))
    counts = f"there are {len(real)} real and {len(generated)} generated images"
    if neighbours < 1 or kid_subsets < 1:
        raise ValueError(f"neighbours is {neighbours} and kid_subsets {kid_subsets}; give at least 1 of each")
    if fewest <= neighbours or fewest < 3:
        raise ValueError(f"{counts}; {neighbours} neighbours need at least {max(neighbours + 1, 3)} of each")
    size = min(1000, max(2, fewest // 2)) if kid_subset_size is None else kid_subset_size
    if not 2 <= size <= fewest:
        raise ValueError(f"{counts}, and kid_subset_size is {size}; give a size from 2 to {fewest}")
    try:
        from torch_fidelity.metric_kid import kid_features_to_metric
        from torch_fidelity.metric_prc import prc_features_to_metric
    except ImportError as error:
        raise ValueError(
            "the kernel distance, precision and recall need torch-fidelity: pip install 'samplesmith[eval]'"
        ) from error
    real, generated = real.double(), generated.double()
    statistics, whole = FeatureStatistics.of(real), FeatureStatistics.of(generated)
    distance = frechet_distance(statistics.mean, statistics.covariance, whole.mean, whole.covariance)
    kid = kid_features_to_metric(
        real, generated, kid_subsets=kid_subsets, kid_subset_size=size, rng_seed=seed, verbose=False
    )
    # It takes the generated set first.
    neighbourhoods = prc_features_to_metric(
        generated,
        real,
        prc_neighborhood=neighbours,
        prc_batch_size=_PRECISION_CHUNK,
        save_cpu_ram=True,
        verbose=False,
    )
    return Comparison(
        len(real),
        len(generated),
        distance,
        frechet_error(statistics, generated),
        kid["kernel_inception_distance_mean"],
        kid["kernel_inception_distance_std"],
        neighbourhoods["precision"],
        neighbourhoods["recall"],
    )


def frechet_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, Dowson and Landau 1982.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (R S2 R^T)^(1/2)), where R^T R = S1 has a row for each direction in which S1 has
    extent: R S2 R^T is symmetric and positive, so its roots are real, and a rank below dim does no harm.

    Args:
        mean, other_mean: (dim,).
        covariance, other_covariance: (dim, dim).
    """
    return _distance(mean.double(), _root(covariance.double()), other_mean.double(), other_covariance.double())


def jackknife_parts(rows: int, groups: int) -> Tensor:
    """Number of the part that each row falls in, (rows,), by a fixed shuffle.

    Sets often go round their classes, so that each tenth row in turn would leave out a class.
    """
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0)) % groups


def frechet_error(real: FeatureStatistics, generated: Tensor, groups: int = 10) -> float:
    """Standard error of the Fréchet distance over generated sets of this size, the real set held fixed.

    Jackknife over `groups` parts: each distance is of nearly all images, so the bias that a small set has (the distance
    falls with the number of images) is the same in all, which it is not in bootstrap samples or in subsets.

    Args:
        real: statistics of the real set.
        generated: features (rows, dim), at least 3, in any order.

    Raises:
        ValueError: for fewer than 3 rows or 2 groups.
    """
    if len(generated) < 3 or groups < 2:
        raise ValueError(f"{len(generated)} images in {groups} groups; an error needs at least 3 images and 2 groups")
    groups = min(groups, len(generated))
    part = jackknife_parts(len(generated), groups)
    parts = [FeatureStatistics.of(generated[part == k]) for k in range(groups)]
    root = _root(real.covariance)
    distances = []
    for left_out in range(groups):
        rest = reduce(add, parts[:left_out] + parts[left_out + 1 :])
        distances.append(_distance(real.mean, root, rest.mean, rest.covariance))
    return float(np.std(distances) * (groups - 1) ** 0.5)


def feature_statistics(
    source: ImageSource, features: Features, batch_size: int = 64, name: str = "given"
) -> FeatureStatistics:
    """Statistics of the features of a set of images, of all processes; arguments as for `extract_features`."""
    found, forms = FeatureStatistics.of(torch.zeros(0, 0)), set()
    for form, batch in _feature_batches(source, features, batch_size, name):
        found, forms = found + FeatureStatistics.of(batch), {form}
    _check_alike(_gathered(forms), name)
    return found.all_reduce()


def extract_features(source: ImageSource, features: Features, batch_size: int = 64, name: str = "given") -> Tensor:
    """Features of a set of images, on the CPU, (n, dim); of this process alone.

    Args:
        source: a folder, a tensor, an array, or an iterable of batches (see `image_batches`).
        features: a module, put in evaluation mode meanwhile, a method of one, or a function.
        batch_size: of folders, tensors and arrays.
        name: what messages call the set.

    Raises:
        ValueError: for images or features that cannot be used.
    """
    return _joined([batch for _, batch in _feature_batches(source, features, batch_size, name)])


def gathered_features(
    source: ImageSource,
    features: Features,
    batch_size: int = 64,
    name: str = "given",
    numbers: Sequence[int] | None = None,
) -> Tensor:
    """Features of a set of images, of all processes, in the order that one process would have them in.

    Args:
        source, features, batch_size, name: as for `extract_features`; the share of this process.
        numbers: which image of the whole set each is, read when all have come, as what draws or groups images follows
            their order; None: those of process 0 come first, then those of process 1, and so on.

    Raises:
        ValueError: for images or features that cannot be used, also where they differ in size between processes.
    """
    batches = list(_feature_batches(source, features, batch_size, name))
    found, forms = _joined([batch for _, batch in batches]), {form for form, _ in batches}
    shares = _gathered((forms, None if numbers is None else list(numbers), found))
    _check_alike([one for one, _, _ in shares], name)
    rows = _joined([part for _, _, part in shares])
    if numbers is None or not len(rows):
        return rows
    return rows[torch.tensor([number for _, part, _ in shares for number in part]).argsort(stable=True)]


def _check_alike(forms: Sequence[set[tuple[int, ...]]], name: str) -> None:
    """Refuse images that differ between processes; within one `image_batches` does."""
    if len(met := sorted(set().union(*forms))) > 1:
        raise ValueError(unlike_images(name, *met[:2]))


def _feature_batches(
    source: ImageSource, features: Features, batch_size: int, name: str
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """The form of the images, and the features of each batch."""
    owner = getattr(features, "__self__", features)
    module = owner if isinstance(owner, nn.Module) else None
    device = next((parameter.device for parameter in module.parameters()), None) if module is not None else None
    was_training = [one for one in module.modules() if one.training] if module is not None else []
    try:
        for one in was_training:
            one.training = False
        for images in image_batches(source, batch_size, name):
            yield tuple(images.shape[1:]), _checked(features, images.to(device), name)
    finally:
        for one in was_training:
            one.training = True


def _checked(features: Features, images: Tensor, name: str) -> Tensor:
    try:
        with torch.no_grad():
            found = features(images)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the features failed on {name} images of shape {tuple(images.shape)}: {reason}") from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
        form = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"the features of {len(images)} images are {form}; expected a tensor (batch, dim)")
    if not torch.isfinite(found).all():
        raise ValueError(f"the features of the {name} images hold NaN or infinity; are these the right images?")
    return found.detach().float().cpu() if found.dtype in (torch.float16, torch.bfloat16) else found.detach().cpu()


def _joined(parts: list[Tensor]) -> Tensor:
    filled = [part for part in parts if len(part)]
    return torch.cat(filled) if filled else torch.zeros(0, 0)


def _root(covariance: Tensor) -> Tensor:
    """R of shape (rank, dim) with R^T R = covariance; what rounding alone made is no direction."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return values[kept].sqrt()[:, None] * vectors.T[kept]


def _distance(mean: Tensor, root: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    if mean.shape != other_mean.shape:
        raise ValueError(f"the features have {len(mean)} and {len(other_mean)} dimensions; take one extractor for both")
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root.T).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + root.square().sum() + other_covariance.trace() - 2 * shared
    return max(float(distance), 0.0)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _gathered(value: Any) -> list[Any]:
    """The value of each process, by rank."""
    if not _is_distributed():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _summed(value: Tensor) -> Tensor:
    """The sum over all processes, on the CPU."""
    value = value.to("cuda") if dist.get_backend() == "nccl" else value.clone()
    dist.all_reduce(value)
    return value.cpu()
