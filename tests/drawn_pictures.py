"""A picture that a saved emoji pipeline draws, for the tests of recipes."""

import torch
from samplesmith import load


def drawn_by(folder, **arguments):
    """One step, 128 px."""
    pipe = load(folder)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe("with a cat", num_inference_steps=1, generator=generator, height=128, width=128, **arguments).images[0]
