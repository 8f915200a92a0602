"""Loading a pipeline as a user has it: shipped, a folder, a single file, or a hub id."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from .. import assets
from ..foreign_errors import in_one_sentence
from ..verifiers import git_lfs
from .class_conditional import ClassConditionalPipeline
from .load_report import whole_weights

WEIGHTS = (".safetensors", ".bin")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load(name: str | Path, dtype: torch.dtype | str = torch.float32, **arguments: Any) -> DiffusionPipeline:
    """Load a plain diffusers pipeline.

    Copes with what a bare `from_pretrained` does not: components saved as null (an SD3 folder without its T5) are
    passed as None, and all components get one dtype.

    Args:
        name: a shipped model (`samplesmith.assets.names("pipeline")`), a folder, a `.safetensors` file, or a hub id.
        dtype: of all components, or its name.
        arguments: passed to `from_pretrained` or `from_single_file`.

    Raises:
        ValueError: where nothing of that name can be loaded, and why, in one sentence: also for weights that are
            missing, of another model, or git-lfs pointers.
    """
    # Loading draws random weights that are then replaced: the global generator is put back.
    with (
        in_one_sentence(f"the model {name} cannot be loaded"),
        whole_weights(),
        torch.random.fork_rng(devices=[]),
    ):
        return _load(name, dtype, arguments)


def _load(name: str | Path, dtype: torch.dtype | str, arguments: dict[str, Any]) -> DiffusionPipeline:
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        dtype = DTYPES[dtype]
    source = Path(name)
    if str(name) in assets.names("pipeline"):
        source = assets.path(str(name))
    if source.suffix == ".safetensors":
        return _load_single_file(source, dtype, arguments)
    if source.is_dir():
        index = _read_index(source)
        shared = _shared(source, dtype, given=arguments)
        arguments = {**shared, **arguments}
        _check_parts(source, index, arguments)
        git_lfs.refuse_pointers(file for file in source.rglob("*") if file.suffix in WEIGHTS)
        # diffusers looks a pipeline's class up among its own.
        ours = index.get("_class_name") == ClassConditionalPipeline.__name__
        cls = ClassConditionalPipeline if ours else DiffusionPipeline
        pipe = cls.from_pretrained(source, dtype=dtype, **_null_components(index), **arguments)
        for part, file in assets.card_in(source).get("lora", {}).items():
            if part in shared:
                _fuse(getattr(pipe, part), source, file, prefix=part)
        return pipe
    if str(name).count("/") != 1:
        raise ValueError(
            f"unknown model {str(name)!r}: neither shipped ({', '.join(assets.names('pipeline'))}) nor a folder, a "
            ".safetensors file or a hub id such as stabilityai/sdxl-turbo"
        )
    try:
        config = DiffusionPipeline.load_config(str(name))
        return DiffusionPipeline.from_pretrained(str(name), dtype=dtype, **_null_components(config), **arguments)
    except OSError as error:
        raise ValueError(
            f"{name} is no folder here and could not be fetched from the hub: {_first_line(error)}"
        ) from error


def _shared(source: Path, dtype: torch.dtype, given: dict[str, Any]) -> dict[str, Any]:
    """Components that a folder's card says lie in a shipped model's folder, which holds them once for both."""
    parts = {}
    for component, owner in assets.card_in(source).get("shared", {}).items():
        if component not in given:
            folder = assets.path(owner)
            library, cls = _read_index(folder)[component]
            git_lfs.refuse_pointers(file for file in (folder / component).iterdir() if file.suffix in WEIGHTS)
            weights = {} if "Tokenizer" in cls else {"dtype": dtype}
            part = getattr(importlib.import_module(library), cls).from_pretrained(folder / component, **weights)
            parts[component] = part
    return parts


def _fuse(network: Any, folder: Path, file: str, prefix: str) -> None:
    """Add a LoRA to the network that it was made for, whose layers are plain again then."""
    network.load_lora_adapter(folder, weight_name=file, prefix=prefix)
    if not network.active_adapters():
        raise ValueError(f"{folder / file} holds no layer of the {prefix}; fetch the model anew")
    network.fuse_lora()
    network.unload_lora()


def _load_single_file(file: Path, dtype: torch.dtype, arguments: dict[str, Any]) -> DiffusionPipeline:
    from diffusers import StableDiffusionPipeline

    if not file.is_file():
        raise ValueError(f"no file {file}; name a .safetensors file of a pipeline")
    git_lfs.refuse_pointers([file])
    return StableDiffusionPipeline.from_single_file(str(file), dtype=dtype, **arguments)


def _read_index(folder: Path) -> dict[str, Any]:
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{folder} has no model_index.json: it is no folder of a diffusers pipeline")
    try:
        values = json.loads(index.read_text())
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"{index} is no index of a diffusers pipeline; it is damaged, or another file")
    return values


def _check_parts(folder: Path, index: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse a folder that lacks a part: tokenizers would come without their words."""
    parts = [name for name, kind in index.items() if isinstance(kind, list) and None not in kind and name not in given]
    if missing := [name for name in parts if not name.startswith("_") and not (folder / name).is_dir()]:
        raise ValueError(
            f"{folder} lacks the folder {missing[0]} that its model_index.json names; fetch the model anew"
        )


def _null_components(index: dict[str, Any]) -> dict[str, None]:
    return {key: None for key, value in index.items() if value == [None, None]}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
