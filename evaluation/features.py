"""Features of a set of images, in any form and by any extractor, in one process or shared by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..foreign_errors import reason_of
from .frechet import FeatureStatistics
from .image_batches import ImageSource, image_batches, unlike_images

if TYPE_CHECKING:
    from torchmetrics import Metric

Features = nn.Module | Callable[[Tensor], Tensor]
"""A module or function: float images (batch, 1 or 3, height, width) in [0, 1] -> (batch, dim)."""


@dataclass(frozen=True)
class _Kind:
    """What images and features are in every process: (channels, height, width), and dimensions and dtype."""

    form: tuple[int, ...]
    dim: int
    dtype: torch.dtype


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
    batches = [batch for _, batch in _feature_batches(source, features, batch_size, name)]
    return torch.cat(batches) if batches else torch.zeros(0, 0)


def feature_statistics(
    source: ImageSource, features: Features, batch_size: int = 64, name: str = "given"
) -> FeatureStatistics:
    """Statistics of the features of a set of images, of all processes, in one pass and constant memory.

    Args:
        source, features, batch_size, name: as for `extract_features`; the share of this process.

    Raises:
        ValueError: for images or features that cannot be used, also where they differ between processes; or without
            torchmetrics.
    """
    _need_torchmetrics()
    from .metrics import FeatureMoments

    moments, kind = None, None
    for form, batch in _feature_batches(source, features, batch_size, name):
        moments = moments or FeatureMoments(batch.shape[1])
        moments.update(batch)
        kind = _Kind(form, batch.shape[1], batch.dtype)
    kind = _shared(kind, name)
    if moments is None:
        moments = FeatureMoments(kind.dim)
        moments.update(torch.zeros(0, kind.dim))
    count, mean, scatter = (_whole(moments)[key].cpu() for key in ("count", "mean", "scatter"))
    return FeatureStatistics(int(count), mean.reshape(kind.dim), scatter.reshape(kind.dim, kind.dim))


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
        ValueError: for images or features that cannot be used, also where they differ between processes; or without
            torchmetrics.
    """
    _need_torchmetrics()
    from .metrics import FeatureRows

    batches, kind = [], None
    for form, batch in _feature_batches(source, features, batch_size, name):
        batches.append(batch)
        kind = _Kind(form, batch.shape[1], batch.dtype)
    kind = _shared(kind, name)
    rows = FeatureRows()
    rows.update(torch.cat([*batches, torch.zeros(0, kind.dim, dtype=kind.dtype)]), numbers)
    whole = _whole(rows).cpu()
    return whole if whole.ndim else whole.reshape(1, 1)  # torchmetrics takes the dimensions off a single number


def _need_torchmetrics() -> None:
    try:
        import torchmetrics  # noqa: F401 (asks whether it is there)
    except ImportError as error:
        raise ValueError("distances of sets of images need torchmetrics: pip install 'samplesmith[eval]'") from error


def _shared(kind: _Kind | None, name: str) -> _Kind:
    """What images and features are in all processes; None is that of a process without images."""
    kinds = [kind]
    if dist.is_available() and dist.is_initialized():
        kinds = [None] * dist.get_world_size()
        dist.all_gather_object(kinds, kind)
    met = [one for one in kinds if one is not None] or [_Kind((), 0, torch.float32)]
    if len(forms := sorted({one.form for one in met})) > 1:
        raise ValueError(unlike_images(name, *forms[:2]))
    if any(one != met[0] for one in met):
        dims = " and ".join(sorted({f"{one.dim} ({one.dtype})" for one in met}))
        raise ValueError(f"the features of the {name} images have {dims} dimensions; take one extractor for all")
    return met[0]


def _whole(metric: Metric) -> Any:
    """What a metric computes of all processes."""
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        metric = metric.to("cuda")
    return metric.compute()


def _feature_batches(
    source: ImageSource, features: Features, batch_size: int, name: str
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """The form of the images, and the features of each batch."""
    owner = getattr(features, "__self__", features)
    module = owner if isinstance(owner, nn.Module) else None
    device = next((parameter.device for parameter in module.parameters()), None) if module is not None else None
    was_training = [part for part in module.modules() if part.training] if module is not None else []
    try:
        for part in was_training:
            part.training = False
        for images in image_batches(source, batch_size, name):
            yield tuple(images.shape[1:]), _checked(features, images.to(device), name)
    finally:
        for part in was_training:
            part.training = True


def _checked(features: Features, images: Tensor, name: str) -> Tensor:
    try:
        with torch.no_grad():
            made = features(images)
    except RuntimeError as error:
        shape = tuple(images.shape)
        raise ValueError(f"the features failed on {name} images of shape {shape}: {reason_of(error)}") from error
    if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != len(images):
        form = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(f"the features of {len(images)} images are {form}; expected a tensor (batch, dim)")
    if not torch.isfinite(made).all():
        raise ValueError(f"the features of the {name} images hold NaN or infinity; are these the right images?")
    return made.detach().float().cpu() if made.dtype in (torch.float16, torch.bfloat16) else made.detach().cpu()
