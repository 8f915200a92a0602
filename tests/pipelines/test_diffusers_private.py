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


def test_private_parts_of_hooks():
    """diffusers keeps the order of its hooks in a list, accelerate what it wraps in `_old_forward`."""
    from accelerate import cpu_offload_with_hook
    from diffusers.hooks import HookRegistry, ModelHook

    module = toys.build("StableDiffusion").unet
    own = module.forward
    cpu_offload_with_hook(module, "cpu")
    assert module._old_forward == own
    registry = HookRegistry.check_if_exists_or_initialize(module)
    registry.register_hook(ModelHook(), "one")
    assert (registry._hook_order, list(registry.hooks)) == (["one"], ["one"])
