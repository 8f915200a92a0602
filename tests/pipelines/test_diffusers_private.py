"""Each private attribute of diffusers that we rely on: an upgrade that moves one fails here, by name."""

import toys
from diffusers import DDIMScheduler


def test_private_attributes_of_pipelines():
    pipe = toys.build("StableDiffusion")
    assert pipe._execution_device.type == "cpu"
    assert pipe._progress_bar_config == {"disable": True}


def test_private_methods_that_previews_use():
    assert toys.build("Flux")._unpack_latents is not None
    assert DDIMScheduler()._threshold_sample is not None
