"""`samplesmith sample`: the plain pipeline, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.numbers import check_numbers
from ...pipelines.shipped import call_arguments, check_vocabulary
from ...valid_json import to_json
from .options import (
    CALL,
    PLACE,
    CallOptions,
    Hooks,
    Json,
    Model,
    Place,
    Scheduler,
    Seed,
    Steps,
    console,
    grouped,
    make_folder,
)


@grouped
def sample(
    prompt: Annotated[str, typer.Argument(help="what to draw")],
    model: Model = "emoji-sd3",
    num_images: Annotated[int, typer.Option(help="images, with the seeds that follow each other")] = 1,
    steps: Steps = None,
    call: CallOptions = CALL,
    scheduler: Scheduler = None,
    hook: Hooks = None,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="folder for the images")] = Path("outputs/sample"),
    place: Place = PLACE,
    as_json: Json = False,
) -> None:
    """Run the plain pipeline, for comparison.

    Example: `samplesmith sample "a car left of a tree on yellow" --num-images 4`
    """
    if num_images < 1:
        raise ValueError(f"--num-images is {num_images}; give at least 1")
    check_numbers(steps=steps, seed=seed, **call.numbers)
    given = call.given
    check_vocabulary([prompt], model, [])

    from PIL import Image

    from ...pipelines.call import PipelineCall
    from ...pipelines.on_device import load_on_device
    from ...pipelines.row import Row
    from ...samplers.by_name import set_up

    make_folder(output)
    pipe = load_on_device(model, **vars(place))
    made = PipelineCall(pipe, call_arguments(model, {"num_inference_steps": steps, **given}))
    with set_up(pipe, scheduler, hook or ()):
        images, _ = made(Row.draws(prompt, range(seed, seed + num_images)))
    files = [output / f"seed_{seed + k}.png" for k in range(num_images)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    if as_json:
        print(to_json({"prompt": prompt, "files": [str(file) for file in files]}, indent=2))
    else:
        console.print(f"{num_images} image{'s' if num_images > 1 else ''} of {prompt!r} in {output}")
