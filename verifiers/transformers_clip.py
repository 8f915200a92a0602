"""CLIP models of transformers, run by `CLIPVerifier` as open_clip's are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clip import CLIPVerifier

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
            preprocessing is not CLIP's (resize the shorter side to the model's size, crop the centre).
    """
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    text = str(source)
    if not Path(text).is_dir() and not HUB_ID.fullmatch(text):
        raise ValueError(f"{text!r} is neither a folder nor a hub id such as yuvalkirstain/PickScore_v1")
    try:
        kind = CLIPConfig.get_config_dict(text, revision=revision)[0].get("model_type")
        if kind != "clip":
            raise ValueError(f"its config.json describes a model of type {kind!r}")
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
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{text!r} gives no CLIP model of transformers with safetensors: {reason}") from error


def _verifier(model: CLIPModel, processor: CLIPProcessor, name: str) -> CLIPVerifier:
    pixels, size = processor.image_processor, model.config.vision_config.image_size
    shorter, crop = pixels.size.shortest_edge, (pixels.crop_size.height, pixels.crop_size.width)
    if (shorter, *crop) != (size, size, size):
        raise ValueError(f"its model takes {size} px but its preprocessing resizes to {shorter} and crops to {crop}")
    tokenizer = PaddedTokenizer(processor.tokenizer, model.config.text_config.max_position_embeddings)
    return CLIPVerifier(TransformersCLIP(model), tokenizer, pixels.image_mean, pixels.image_std, size, name)


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
