"""Cosmos: x0 + sigma eps from sigma 80, latents of pictures as clips of one frame."""

import diffusers
import torch

from .parts import PROMPT, SMALL, Recipe, t5_text, tokenizer


class _NothingIsUnsafe(torch.nn.Module):
    """In place of the safety checker, a package of its own."""

    device, dtype = torch.device("cpu"), torch.float32

    def check_text_safety(self, prompt):
        return True

    def check_video_safety(self, video):
        return video


def cosmos2():
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        mlp_ratio=2,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(2.0, 1.0, 1.0),
        extra_pos_embed_type="learnable",
    )
    return diffusers.Cosmos2TextToImagePipeline(
        transformer=transformer.eval(),
        vae=diffusers.AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        text_encoder=t5_text(),
        tokenizer=tokenizer(),
        safety_checker=_NothingIsUnsafe(),
    )


TOYS = {"Cosmos2TextToImagePipeline": Recipe(cosmos2, PROMPT, {**SMALL, "max_sequence_length": 14})}
