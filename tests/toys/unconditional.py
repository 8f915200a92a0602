"""Pixels from a UNet alone: of class labels, or of nothing."""

import diffusers

from .parts import Recipe


def _pixel_unet(**changes):
    settings = {
        "sample_size": 32,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
    }
    return diffusers.UNet2DModel(**{**settings, **changes}).eval()


def ddpm():
    return diffusers.DDPMPipeline(unet=_pixel_unet(), scheduler=diffusers.DDPMScheduler())


def ddim():
    return diffusers.DDIMPipeline(unet=_pixel_unet(), scheduler=diffusers.DDIMScheduler())


def consistency():
    return diffusers.ConsistencyModelPipeline(
        unet=_pixel_unet(num_class_embeds=10), scheduler=diffusers.CMStochasticIterativeScheduler()
    )


TOYS = {
    "ConsistencyModelPipeline": Recipe(consistency, 3, {"num_inference_steps": 2}),
    "DDPMPipeline": Recipe(ddpm, 0, {"num_inference_steps": 3}),
    "DDIMPipeline": Recipe(ddim, 0, {"num_inference_steps": 3}),
}
