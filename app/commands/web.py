"""`samplesmith web`: the page in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from ...foreign_errors import in_one_sentence
from ...pipelines.shipped import check_model
from .options import PLACE, Model, Place, grouped


@grouped
def web(
    model: Model = "emoji-sd3",
    verifier: Annotated[list[str] | None, typer.Option(help="to offer first, beside the shipped ones")] = None,
    judge: Annotated[str | None, typer.Option(help="a judge to offer first, beside the shipped ones")] = None,
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 is seen by other machines")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="the first free one from 7860 when left out")] = None,
    share: Annotated[bool, typer.Option(help="open a public link through gradio")] = False,
    place: Place = PLACE,
) -> None:
    """Open the page: every method, live, in a browser.

    Example: `samplesmith web --model stabilityai/sdxl-turbo --dtype float16 --verifier clip:ViT-L-14:openai`
    """
    check_model(model)
    if port is not None and not 0 < port < 2**16:
        raise ValueError(f"--port is {port}; give a number from 1 to {2**16 - 1}")
    from ...pipelines.on_device import check_device

    check_device(place.device, place.offload)
    try:
        from ..page.shell import launch
    except ImportError as error:
        raise ValueError("the page needs gradio: pip install 'samplesmith[web]'") from error
    from ..page.models import Models

    models = Models(model, tuple(verifier or ()), judge, **vars(place))
    models.check()
    with in_one_sentence(f"the page cannot be opened at {host}{'' if port is None else f':{port}'}"):
        launch(models=models, host=host, port=port, share=share)
