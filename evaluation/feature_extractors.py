"""Features of images by name: Inception with a file of weights, shipped models, folders of classifiers or open_clip."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import assets
from ..foreign_errors import in_one_sentence
from ..pipelines.load_report import whole_weights

INCEPTION = "inception"


class InceptionFeatures(nn.Module):
    """Pool features of the Inception of the FID papers, (batch, 2048), by torch-fidelity.

    Images (batch, 1 or 3, height, width) in [0, 1] are rounded to 8 bits, and resized as TensorFlow did.

    Args:
        extractor: torch-fidelity's, for the features "2048".
    """

    def __init__(self, extractor: nn.Module):
        super().__init__()
        self.extractor = extractor.eval().requires_grad_(False)

    @classmethod
    def load(cls, weights: str | Path) -> InceptionFeatures:
        """Load from a file; nothing is downloaded, and no code in the file is run.

        Args:
            weights: torch-fidelity's "weights-inception-2015-12-05-6726825d.pth", or the same as .safetensors.

        Raises:
            ValueError: where the file is missing or holds something else, or without torch-fidelity.
        """
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ValueError("Inception needs torch-fidelity: pip install 'samplesmith[eval]'") from error
        # torch-fidelity unpickles what it is given without a check, so it gets our own copy of the bare tensors.
        safe = io.BytesIO()
        torch.save(_read_tensors(Path(weights)), safe)
        safe.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                extractor = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], safe)
        except RuntimeError as error:
            raise ValueError(
                f"{weights} holds no weights of the Inception of FID; torch-fidelity publishes them as "
                "weights-inception-2015-12-05-6726825d.pth"
            ) from error
        return cls(extractor)

    def forward(self, images: Tensor) -> Tensor:
        return self.extractor((images * 255).round().byte().expand(-1, 3, -1, -1))[0]


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ValueError(f"no file {file}; name a file of Inception weights")
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{file} is no file of bare tensors; it is corrupt, or would run code when loaded") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} holds no weights by name; name a file of Inception weights")
    return state


def _clip(source: Path, device: Any) -> Callable[[Tensor], Tensor]:
    from ..verifiers import CLIPVerifier

    verifier = CLIPVerifier.load(source).to(device)
    return lambda images: verifier.image_features(images.expand(-1, 3, -1, -1))


def _classifier(source: Path, device: Any) -> Callable[[Tensor], Tensor]:
    from ..models.fashion_classifier import FashionClassifier, load_classifier

    kind = json.loads((source / "config.json").read_text()).get("_class_name")
    if kind != FashionClassifier.__name__:
        raise ValueError(
            f"{source} holds the model {kind}, which has no features here; name a folder of a FashionClassifier"
        )
    return load_classifier(source).to(device).features


LOADERS: dict[str, Callable[[Path, Any], Callable[[Tensor], Tensor]]] = {"clip": _clip, "classifier": _classifier}
"""Features of shipped models, by the `loader` of their card."""

FOLDERS = {"open_clip_config.json": _clip, "config.json": _classifier}
"""Features of a folder, by the file that it must hold."""


def load_features(
    name: str | Path | None = None, inception_weights: str | Path | None = None, device: Any = "cpu"
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Load features of images.

    Args:
        name: a shipped model such as "emoji-clip", a folder of an open_clip model or a FashionClassifier, or
            "inception"; None: Inception where its weights are given.
        inception_weights: file of them.
        device: where it runs.

    Returns:
        its name, and images (batch, 1 or 3, height, width) in [0, 1] -> (batch, dim).

    Raises:
        ValueError: for a name that has no features, or Inception without weights, where it lists the names; and for
            what cannot be loaded, in one sentence.
    """
    with in_one_sentence(f"the features {name or INCEPTION} cannot be loaded"), whole_weights():
        return _load(name, inception_weights, device)


def _load(
    name: str | Path | None, inception_weights: str | Path | None, device: Any
) -> tuple[str, Callable[[Tensor], Tensor]]:
    shipped = [model for model in assets.names() if assets.card(model).get("loader") in LOADERS]
    known = f"give one of {', '.join([*shipped, INCEPTION])}, or a folder of an open_clip model or a FashionClassifier"
    if name is None and inception_weights is None:
        raise ValueError(f"no features are named; {known}")
    if name in (None, INCEPTION):
        if inception_weights is None:
            raise ValueError("Inception needs a file of weights, as nothing is downloaded; give --inception-weights")
        return INCEPTION, InceptionFeatures.load(inception_weights).to(device)
    if inception_weights is not None:
        raise ValueError(f"Inception weights are given, but the features are {str(name)!r}; leave one out")
    if name in shipped:
        return str(name), LOADERS[assets.card(str(name))["loader"]](assets.path(str(name)), device)
    for file, loader in FOLDERS.items():
        if (Path(name) / file).is_file():
            return Path(name).name, loader(Path(name), device)
    raise ValueError(f"unknown features {str(name)!r}; {known}")
