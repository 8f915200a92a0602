"""How the recipes leave a pipeline on disk."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """fp16 safetensors, without this machine's paths in the configs; the text encoders' dtype reads float32."""
    half = copy.deepcopy(pipeline).to(torch.float16)
    half.save_pretrained(folder)
    for file in folder.rglob("*.json"):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        if "dtype" in config:
            config["dtype"] = "float32"
        file.write_text(json.dumps(config, indent=2) + "\n")
