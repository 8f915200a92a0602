"""How far generated images are from real ones: Fréchet distance, kernel distance, precision and recall.

Features are any function of images, so the same measures serve Inception (FID, KID) and a classifier of one's own. The
Fréchet distance is that of `frechet.py`; the kernel distance and precision and recall are torch-fidelity's, called in
float64 and with a generator of their own (torchmetrics' kernel distance draws from the global one).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .features import Features, feature_statistics, gathered_features
from .frechet import FeatureStatistics, frechet_distance, frechet_error
from .image_batches import ImageSource
from .saved_statistics import SavedStatistics

_PRECISION_CHUNK = 1000
"""Rows of a distance matrix that are held at once."""


@dataclass(frozen=True)
class Comparison:
    """Generated images against real ones.

    Attributes:
        real, generated: number of images.
        fid: Fréchet distance of the features (arXiv 1706.08500); 0 for equal sets; falls with the number of images.
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
    for statistics, name in ((first, "real"), (second, "generated")):
        if isinstance(statistics, FeatureStatistics) and statistics.count < 2:
            raise ValueError(f"there are {statistics.count} {name} images; the distance needs at least 2 of each set")
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
