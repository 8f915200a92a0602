"""Networks of diffusers in small, with weights of their own, for the tests of distillation."""

from diffusers import DiTTransformer2DModel, UNet2DModel
from samplesmith.training.randomness import initial_weights


def dit():
    with initial_weights(0):
        return DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=1, num_layers=3, sample_size=8, patch_size=4,
            num_embeds_ada_norm=3, norm_num_groups=4,
        ).eval()  # fmt: skip


def unet():
    with initial_weights(0):
        return UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16),
            norm_num_groups=4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
            num_class_embeds=3,
        ).eval()  # fmt: skip
