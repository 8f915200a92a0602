"""Verifiers by name: shipped ones, folders, hub ids, any open_clip model, and models behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import assets
from ..foreign_errors import in_one_sentence, reason_of
from ..models.fashion_classifier import load_classifier
from ..models.scene_detector import SceneDetector
from ..named_settings import check_settings, parse_settings, write_value
from . import git_lfs
from .aesthetic import AestheticVerifier, load_head
from .base import Verifier
from .classifier import ClassVerifier
from .clip import CLIPVerifier
from .detector import DetectorVerifier
from .preference import PreferenceVerifier
from .self_supervised import SelfSupervisedVerifier
from .vlm import VLMVerifier


def _clip(folder: Path) -> CLIPVerifier:
    return CLIPVerifier.load(folder)


def _detector(folder: Path) -> DetectorVerifier:
    return DetectorVerifier(SceneDetector.from_pretrained(folder), name=folder.name)


def _aesthetic(folder: Path) -> AestheticVerifier:
    clip = CLIPVerifier.load(assets.path(assets.card(folder.name)["clip"]))
    return AestheticVerifier(clip, load_head(folder / "model.safetensors"), folder.name)


def _classifier(folder: Path) -> ClassVerifier:
    return ClassVerifier(load_classifier(folder), folder.name)


LOADERS: dict[str, Callable[[Path], Verifier]] = {
    "clip": _clip,
    "detector": _detector,
    "aesthetic": _aesthetic,
    "classifier": _classifier,
}
"""Loaders of shipped verifiers, by the `loader` of their card."""

FORMS = (
    "clip:MODEL:WEIGHTS (a tag or a file), aesthetic:HEAD_FILE:MODEL:WEIGHTS, preference:FOLDER, "
    "preference:HUB_ID[@REVISION], self-supervised:VERIFIER (whose features are compared), "
    "vlm:MODEL@BASE_URL[,response_format=no][,temperature=none], or a folder with open_clip_config.json"
)


def _preference(source: str) -> PreferenceVerifier:
    if Path(source).is_dir():
        return PreferenceVerifier.load(source)
    hub_id, _, revision = source.partition("@")
    return PreferenceVerifier.load(hub_id, revision or None)


def _self_supervised(name: str) -> SelfSupervisedVerifier:
    features_of = load_verifier(name)
    if isinstance(features_of, CLIPVerifier):
        return SelfSupervisedVerifier(features_of.image_features, f"self-supervised {features_of.name}")
    if isinstance(features_of, ClassVerifier):
        return SelfSupervisedVerifier(features_of.model.features, f"self-supervised {features_of.name}")
    raise ValueError(f"{name} has no image features to compare; name a CLIP model or fashion-classifier")


def _vlm(place: str) -> VLMVerifier:
    """MODEL@BASE_URL and maybe settings, which are the arguments of `VLMVerifier`; a key is none of them."""
    model, _, rest = place.rpartition("@")
    if not model:
        raise ValueError(f"'vlm:{place}' names no model and address; give vlm:MODEL@BASE_URL")
    base_url, _, text = rest.partition(",")
    settings = parse_settings(text, "vlm")
    if "response_format" in settings:  # what the endpoint calls it
        known = {"yes": True, "no": False, True: True, False: False}
        if (value := settings.pop("response_format")) not in list(known):
            raise ValueError(f"vlm has response_format={write_value(value)}; give yes or no")
        settings["structured"] = known[value]
    check_settings("vlm", settings, VLMVerifier, given=("base_url", "model", "api_key"))
    return VLMVerifier(base_url, model, **settings)


PREFIXES: dict[str, Callable[[str], Verifier]] = {
    "preference": _preference,
    "self-supervised": _self_supervised,
    "vlm": _vlm,
}
"""Loaders of `KIND:REST` by kind; they are given the rest."""


def load_verifier(name: str | Path) -> Verifier:
    """Load a verifier.

    Args:
        name: a shipped one ("emoji-clip", "emoji-aesthetic", "emoji-detector"), a folder of an open_clip model,
            "clip:ViT-L-14:openai", "clip:ViT-L-14:weights.safetensors", "aesthetic:head.pth:ViT-L-14:openai",
            "preference:yuvalkirstain/PickScore_v1" (or a folder, or a hub id with @revision),
            "self-supervised:emoji-clip", or "vlm:MODEL@http://HOST/v1" (its key is read from SAMPLESMITH_VLM_API_KEY;
            ",response_format=no" and ",temperature=none" behind it leave these out of its requests; the other arguments
            of `VLMVerifier` can be given so too).

    Raises:
        ValueError: for anything else, where the message lists the forms, and for what cannot be loaded: missing files,
            git-lfs pointers, weights of another model. It is one sentence that names the file or folder.
    """
    with in_one_sentence(f"the verifier {str(name)!r} cannot be loaded"):
        return _load(str(name))


def _shipped(name: str) -> Verifier:
    folder = assets.path(name)
    git_lfs.refuse_pointers(folder.glob("*.safetensors"))
    try:
        return LOADERS[assets.card(name)["loader"]](folder)
    except Exception as error:
        if isinstance(error, ValueError) and str(folder) in str(error):
            raise
        raise ValueError(f"the verifier {name} in {folder} cannot be loaded: {reason_of(error)}") from error


def _load(text: str) -> Verifier:
    kind, *parts = text.split(":")
    if kind in PREFIXES and any(parts):
        return PREFIXES[kind](text.partition(":")[2])
    if kind == "clip" and len(parts) == 2:
        return CLIPVerifier.load(parts[0], parts[1], parts[0])
    if kind == "aesthetic" and len(parts) == 3:
        return AestheticVerifier(CLIPVerifier.load(*parts[1:]), load_head(parts[0]))
    if (Path(text) / "open_clip_config.json").is_file():
        return CLIPVerifier.load(text)
    if text in assets.names("verifier"):
        return _shipped(text)
    if text and Path(text).is_dir():
        raise ValueError(
            f"the folder {text} is no verifier: it holds no open_clip_config.json; a CLIP model of transformers is "
            f"preference:{text}"
        )
    raise ValueError(f"unknown verifier {text!r}; shipped: {', '.join(assets.names('verifier'))}; other forms: {FORMS}")
