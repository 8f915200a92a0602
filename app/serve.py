"""`samplesmith web`: the page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import assets
from .options import Device, Dtype, Model, Offload


def web(
    model: Model = "emoji-sd3",
    verifier: Annotated[list[str] | None, typer.Option(help="to offer first, beside the shipped ones")] = None,
    judge: Annotated[str | None, typer.Option(help="a judge to offer first, beside the shipped ones")] = None,
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 is seen by other machines")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="the first free one from 7860 when left out")] = None,
    share: Annotated[bool, typer.Option(help="open a public link through gradio")] = False,
    dtype: Dtype = "float32",
    device: Device = None,
    offload: Offload = False,
) -> None:
    """Open the page: search and time shift, live, in a browser.

    Example: `samplesmith web --model stabilityai/sdxl-turbo --dtype float16 --verifier clip:ViT-L-14:openai`
    """
    if model not in assets.names("pipeline") and not Path(model).exists() and model.count("/") != 1:
        raise ValueError(
            f"unknown model {model!r}: neither shipped ({', '.join(assets.names('pipeline'))}) nor a folder, a "
            ".safetensors file or a hub id such as stabilityai/sdxl-turbo"
        )
    try:
        from .web import launch
    except ImportError as error:
        raise ValueError("the page needs gradio: pip install 'samplesmith[web]'") from error
    from .models import Models

    models = Models(model, tuple(verifier or ()), judge, dtype=dtype, device=device, offload=offload)
    launch(models=models, host=host, port=port, share=share)
