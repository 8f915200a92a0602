"""Further transformers of flows: PRX, OmniGen, SkyReels, and the kin of other toys."""

import diffusers
import transformers

from .flow_transformers import chroma, flow, flux_2_klein, qwen_image, z_image
from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    autoencoder_of_eight,
    mask,
    picture,
    t5_text,
    tokenizer,
    words_tokenizer,
)
from .video import wan_autoencoder


def prx():
    transformer = diffusers.PRXTransformer2DModel(
        in_channels=4,
        patch_size=2,
        context_in_dim=32,
        hidden_size=16,
        mlp_ratio=2.0,
        num_heads=2,
        depth=1,
        axes_dim=[4, 4],
    )
    return diffusers.PRXPipeline(
        transformer=transformer.eval(),
        scheduler=flow(),
        text_encoder=t5_text(),
        tokenizer=tokenizer(),
        vae=autoencoder(4),
        default_sample_size=32,
    )


def omnigen():
    transformer = diffusers.OmniGenTransformer2DModel(
        hidden_size=16,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=32,
        num_layers=1,
        in_channels=4,
        time_step_dim=4,
        rope_scaling={"long_factor": list(range(1, 3)), "short_factor": list(range(1, 3))},
        vocab_size=len(words_tokenizer()),
        pad_token_id=0,
    )
    return diffusers.OmniGenPipeline(
        transformer=transformer.eval(),
        scheduler=flow(invert_sigmas=True, num_train_timesteps=1),
        vae=autoencoder_of_eight(4),
        tokenizer=words_tokenizer(),
    )


def sky_reels():
    transformer = diffusers.SkyReelsV2Transformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=64,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    return diffusers.SkyReelsV2Pipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(kind=transformers.UMT5EncoderModel),
        transformer=transformer.eval(),
        vae=wan_autoencoder(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    )


_FROM_PICTURE = {"image": picture(), "strength": 0.8, "num_inference_steps": 4, "max_sequence_length": 8}
_SIZED = {**_FROM_PICTURE, "height": 32, "width": 32}

TOYS = {
    "PRXPipeline": Recipe(prx, PROMPT, {**SMALL, "use_resolution_binning": False}),
    "OmniGenPipeline": Recipe(omnigen, PROMPT, {**SMALL, "height": 64, "width": 64}),
    "SkyReelsV2Pipeline": Recipe(
        sky_reels,
        PROMPT,
        {"height": 16, "width": 16, "num_frames": 9, "num_inference_steps": 2, "max_sequence_length": 16},
    ),
    "Flux2KleinPipeline, a reference picture": Recipe(
        flux_2_klein,
        PROMPT,
        {**SMALL, "max_sequence_length": 14, "guidance_scale": 4.0, "image": picture(side=64)},
    ),
    "ChromaImg2ImgPipeline": Recipe(lambda: chroma(diffusers.ChromaImg2ImgPipeline), PROMPT, _SIZED),
    "ZImageImg2ImgPipeline": Recipe(lambda: z_image(diffusers.ZImageImg2ImgPipeline), PROMPT, _SIZED),
    "QwenImageImg2ImgPipeline": Recipe(lambda: qwen_image(diffusers.QwenImageImg2ImgPipeline), PROMPT, _SIZED),
    "QwenImageInpaintPipeline": Recipe(
        lambda: qwen_image(diffusers.QwenImageInpaintPipeline), PROMPT, {**_SIZED, "mask_image": mask()}
    ),
}
