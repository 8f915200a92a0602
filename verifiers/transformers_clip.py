"""CLIP models of transformers, run by `CLIPVerifier` as open_clip's are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..foreign_errors import reason_of
from . import git_lfs
from .clip import CLIPVerifier
from .identity import describe
from .images import to_tensor
from .preprocessing import Preprocessing, pixel_probe

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_transformers_clip(source: str | Path, revision: str | None = None, name: str | None = None) -> CLIPVerifier:
    """Load a CLIP model of transformers, in float32; only safetensors are read, never a pickle.

    Args:
        source: a folder (`config.json`, `model.safetensors`, tokenizer and preprocessing), or a hub id such as
            "yuvalkirstain/PickScore_v1".
        revision: branch, tag or commit of a hub id.
        name: of its scores; the last part of `source` when None.

    Raises:
        ValueError: where there is no such folder or hub id, it is no CLIP model, weights are missing, or its
            preprocessing gives another size than the model takes.
    """
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    text = str(source)
    if not Path(text).is_dir() and not HUB_ID.fullmatch(text):
        raise ValueError(f"{text!r} is neither a folder nor a hub id such as yuvalkirstain/PickScore_v1")
    try:
        kind = CLIPConfig.get_config_dict(text, revision=revision)[0].get("model_type")
        if kind != "clip":
            raise ValueError(f"its config.json describes a model of type {kind!r}")
        if Path(text).is_dir():
            git_lfs.refuse_pointers(Path(text).glob("*.safetensors"))
        # transformers draws what a checkpoint lacks: the global generator is put back.
        with torch.random.fork_rng(devices=[]):
            model, report = CLIPModel.from_pretrained(
                text, revision=revision, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        if report["missing_keys"]:
            raise ValueError(f"its weights lack {min(report['missing_keys'])}")
        processor = CLIPProcessor.from_pretrained(text, revision=revision)
        return _verifier(model, processor, name or Path(text).name)
    except Exception as error:
        raise ValueError(
            f"{text!r} gives no CLIP model of transformers with safetensors: {reason_of(error)}"
        ) from error


def _verifier(model: CLIPModel, processor: CLIPProcessor, name: str) -> CLIPVerifier:
    preprocessing = TransformersPreprocessing(processor.image_processor)
    side, made = model.config.vision_config.image_size, preprocessing.size
    if made != (side, side):
        raise ValueError(f"its model takes {side} x {side} px but its preprocessing gives {made[0]} x {made[1]}")
    tokenizer = PaddedTokenizer(processor.tokenizer, model.config.text_config.max_position_embeddings)
    return CLIPVerifier(TransformersCLIP(model), tokenizer, preprocessing, name)


class TransformersPreprocessing(Preprocessing):
    """transformers' own image processor.

    Args:
        processor: a `CLIPImageProcessor` or one like it, on torchvision.
    """

    def __init__(self, processor: Any):
        self.processor = processor
        if not processor.do_rescale or abs(processor.rescale_factor * 255 - 1) > 1e-6:
            raise ValueError("its preprocessing does not scale 8 bits to [0, 1]")
        normalised = processor.do_normalize
        self.mean = tuple(processor.image_mean) if normalised else (0.0,) * 3
        self.std = tuple(processor.image_std) if normalised else (1.0,) * 3
        height, width = self.of_picture(pixel_probe(37, 53)).shape[-2:]
        self.size = (height, width)
        own = pixel_probe(height, width)
        # Some resize to more than they crop: then even images of the model's size change.
        self._keeps_size = torch.equal(self.of_picture(own), to_tensor(own)[0])

    def settings(self) -> dict[str, Any]:
        return describe({key: value for key, value in self.processor.to_dict().items() if not key.endswith("_type")})

    def keeps(self, height: int, width: int) -> bool:
        return self._keeps_size and super().keeps(height, width)

    def of_picture(self, picture: Image.Image) -> Tensor:
        return self.processor(picture, do_normalize=False, return_tensors="pt").pixel_values[0]

    def of_tensor(self, images: Tensor) -> Tensor:
        made = self.processor(
            list(images),
            do_normalize=False,
            do_rescale=False,
            input_data_format="channels_first",
            return_tensors="pt",
        )
        return made.pixel_values.clamp(0, 1)


class TransformersCLIP(nn.Module):
    """Has the two methods of open_clip's models that `CLIPVerifier` calls, and their `logit_scale`."""

    def __init__(self, model: CLIPModel):
        super().__init__()
        self.model = model

    @property
    def logit_scale(self) -> Tensor:
        return self.model.logit_scale

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Features (batch, dim) of preprocessed images."""
        features = self.model.visual_projection(self.model.vision_model(images).pooler_output)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, ids: Tensor, normalize: bool = False) -> Tensor:
        """Features (batch, dim) of token ids; attention is causal, so what follows the end token plays no part."""
        features = self.model.text_projection(self.model.text_model(ids).pooler_output)
        return F.normalize(features, dim=-1) if normalize else features


class PaddedTokenizer:
    """Called as open_clip's tokenizers are: texts in, ids (batch, length) out."""

    def __init__(self, tokenizer: Any, length: int):
        self.tokenizer = tokenizer
        self.length = length

    def __call__(self, texts: list[str]) -> Tensor:
        return self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        ).input_ids
