"""Sana: a linear transformer on latents that are 32 times smaller, or less in a toy."""

import diffusers
import transformers

from .parts import PROMPT, SMALL, Recipe, language_model, picture, stirred, words_tokenizer

_TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 4,
    "cross_attention_dim": 8,
    "caption_channels": 32,
    "sample_size": 16,
}


def deep_autoencoder():
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1],
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    ).eval()


def sana(cls=diffusers.SanaPipeline, scheduler=None, changes=None, **extra):
    return cls(
        tokenizer=words_tokenizer(),
        text_encoder=language_model(transformers.Gemma2Model),
        vae=deep_autoencoder(),
        transformer=diffusers.SanaTransformer2DModel(**{**_TRANSFORMER, **(changes or {})}).eval(),
        scheduler=scheduler or diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        **extra,
    )


def sana_by_solver():
    """With the scheduler that Sana is published with."""
    return sana(
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
    )


def sana_sprint(cls=diffusers.SanaSprintPipeline):
    return sana(
        cls,
        diffusers.SCMScheduler(prediction_type="trigflow", sigma_data=0.5),
        {"qk_norm": "rms_norm_across_heads", "guidance_embeds": True},
    )


def _controlnet():
    return stirred(diffusers.SanaControlNetModel(**_TRANSFORMER))


_CALL = {**SMALL, "use_resolution_binning": False, "max_sequence_length": 16, "complex_human_instruction": None}

TOYS = {
    "SanaPipeline": Recipe(sana, PROMPT, _CALL),
    "SanaPipeline, DPM-Solver++": Recipe(sana_by_solver, PROMPT, {**_CALL, "num_inference_steps": 4}),
    "SanaPAGPipeline": Recipe(lambda: sana(diffusers.SanaPAGPipeline), PROMPT, {**_CALL, "pag_scale": 2.0}),
    "SanaSprintPipeline": Recipe(sana_sprint, PROMPT, _CALL),
    "SanaControlNetPipeline": Recipe(
        lambda: sana(diffusers.SanaControlNetPipeline, controlnet=_controlnet()),
        PROMPT,
        {**_CALL, "control_image": picture()},
    ),
}
