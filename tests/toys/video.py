"""Pipelines that make clips of texts."""

import diffusers
import transformers

from .kandinsky import kandinsky_5_parts
from .parts import (
    PROMPT,
    Recipe,
    autoencoder,
    clip_text,
    language_model,
    t5_text,
    tokenizer,
    unet,
    words_tokenizer,
)


def _flow(**settings):
    return diffusers.FlowMatchEulerDiscreteScheduler(**settings)


def cogvideox():
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        max_text_seq_length=16,
    )
    return diffusers.CogVideoXPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )


def wan_autoencoder():
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    vae.decoder.conv_out.weight.data *= 8  # else all clips look alike
    return vae.eval()


def wan_transformer(**changes):
    settings = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 32,
        "freq_dim": 32,
        "ffn_dim": 32,
        "num_layers": 1,
        "rope_max_seq_len": 32,
    }
    return diffusers.WanTransformer3DModel(**{**settings, **changes}).eval()


def wan(scheduler=None, **extra):
    return diffusers.WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(kind=transformers.UMT5EncoderModel),
        vae=wan_autoencoder(),
        scheduler=scheduler or _flow(shift=7.0),
        transformer=wan_transformer(),
        **extra,
    )


def wan_by_solver():
    """With the scheduler that Wan is published with."""
    return wan(
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    )


def wan_two_experts():
    """Wan 2.2: one transformer of the early times, another of the late ones."""
    return wan(transformer_2=wan_transformer(), boundary_ratio=0.875)


def ltx():
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    return diffusers.LTXPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=_flow(),
    )


def mochi():
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    return diffusers.MochiPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=_flow(invert_sigmas=True),
    )


def latte():
    transformer = diffusers.LatteTransformer3DModel(
        sample_size=16,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        video_length=2,
    )
    return diffusers.LattePipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=diffusers.DDIMScheduler(),
    )


def hunyuan_video():
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    )
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=32,
        pooled_projection_dim=32,
        rope_axes_dim=(2, 4, 4),
    )
    return diffusers.HunyuanVideoPipeline(
        text_encoder=language_model(transformers.LlamaModel),
        tokenizer=words_tokenizer(),
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=_flow(shift=7.0),
        text_encoder_2=clip_text(max_position_embeddings=77),
        tokenizer_2=tokenizer(),
    )


def text_to_video_sd():
    model = diffusers.UNet3DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    return diffusers.TextToVideoSDPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        unet=model.eval(),
        scheduler=diffusers.DDIMScheduler(),
    )


def _motion_adapter():
    return diffusers.MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4, motion_num_attention_heads=2
    ).eval()


def animatediff(cls=diffusers.AnimateDiffPipeline, **extra):
    return cls(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        unet=unet(),
        motion_adapter=_motion_adapter(),
        scheduler=diffusers.DDIMScheduler(beta_schedule="linear", clip_sample=False),
        **extra,
    )


def kandinsky_5_video():
    return diffusers.Kandinsky5T2VPipeline(vae=hunyuan_video().vae, **kandinsky_5_parts())


_CLIP = {"height": 16, "width": 16, "num_frames": 9, "num_inference_steps": 2, "max_sequence_length": 16}
_FROM_IMAGES = {"height": 32, "width": 32, "num_frames": 4, "num_inference_steps": 2}

TOYS = {
    "CogVideoXPipeline": Recipe(cogvideox, PROMPT, _CLIP),
    "WanPipeline": Recipe(wan, PROMPT, _CLIP),
    "WanPipeline, UniPC": Recipe(wan_by_solver, PROMPT, _CLIP),
    "WanPipeline, two experts": Recipe(wan_two_experts, PROMPT, _CLIP),
    "LTXPipeline": Recipe(ltx, PROMPT, {**_CLIP, "height": 32, "width": 32}),
    "MochiPipeline": Recipe(mochi, PROMPT, {**_CLIP, "num_frames": 7}),
    "LattePipeline": Recipe(latte, PROMPT, {"height": 32, "width": 32, "video_length": 2, "num_inference_steps": 2}),
    "HunyuanVideoPipeline": Recipe(
        hunyuan_video,
        PROMPT,
        {**_CLIP, "num_frames": 5, "prompt_template": {"template": "Describe the video {}", "crop_start": 0}},
    ),
    "TextToVideoSDPipeline": Recipe(text_to_video_sd, PROMPT, _FROM_IMAGES),
    "AnimateDiffPipeline": Recipe(animatediff, PROMPT, _FROM_IMAGES),
    "AnimateDiffPAGPipeline": Recipe(
        lambda: animatediff(diffusers.AnimateDiffPAGPipeline),
        PROMPT,
        {**_FROM_IMAGES, "pag_scale": 2.0},
    ),
    "Kandinsky5T2VPipeline": Recipe(kandinsky_5_video, PROMPT, {**_CLIP, "num_frames": 5}),
}
