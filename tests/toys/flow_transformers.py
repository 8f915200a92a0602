"""Image transformers of flows, each with the text encoder that its pipeline asks for."""

import diffusers
import transformers

from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    autoencoder_of_eight,
    clip_text,
    language_model,
    qwen_vl,
    t5_text,
    tokenizer,
    words_tokenizer,
)


def flow(**settings):
    return diffusers.FlowMatchEulerDiscreteScheduler(**settings)


def chroma(cls=diffusers.ChromaPipeline, **extra):
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return cls(
        scheduler=flow(),
        vae=autoencoder(),
        text_encoder=t5_text(),
        tokenizer=tokenizer(),
        transformer=transformer.eval(),
        **extra,
    )


def aura_flow():
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    return diffusers.AuraFlowPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(kind=transformers.UMT5EncoderModel),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=flow(),
    )


def qwen_autoencoder():
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ).eval()


def qwen_image(cls=diffusers.QwenImagePipeline, **extra):
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return cls(
        scheduler=flow(use_dynamic_shifting=True),
        vae=qwen_autoencoder(),
        text_encoder=qwen_vl(),
        tokenizer=words_tokenizer(),
        transformer=transformer.eval(),
        **extra,
    )


def _lumina_parts(kind):
    return {
        "vae": autoencoder_of_eight(),
        "text_encoder": language_model(kind),
        "tokenizer": words_tokenizer(),
    }


def lumina():
    transformer = diffusers.LuminaNextDiT2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=32,
    )
    return diffusers.LuminaPipeline(
        transformer=transformer.eval(), scheduler=flow(), **_lumina_parts(transformers.GemmaForCausalLM)
    )


def lumina_2():
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(128, 128, 128),
        cap_feat_dim=32,
    )
    return diffusers.Lumina2Pipeline(
        transformer=transformer.eval(), scheduler=flow(), **_lumina_parts(transformers.Gemma2Model)
    )


def ovis_image():
    transformer = diffusers.OvisImageTransformer2DModel(
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.OvisImagePipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=autoencoder(4),
        text_encoder=language_model(transformers.Qwen3Model),
        tokenizer=words_tokenizer(),
        transformer=transformer.eval(),
    )


def z_image(cls=diffusers.ZImagePipeline, **extra):
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 64, 64],
    )
    return cls(
        scheduler=flow(),
        vae=autoencoder(4),
        text_encoder=language_model(transformers.Qwen3Model),
        tokenizer=words_tokenizer(),
        transformer=transformer.eval(),
        **extra,
    )


def flux_2_autoencoder():
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(4,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def _flux_2_transformer(text_width: int, guidance: bool):
    return diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    ).eval()


def flux_2():
    text = {"vocab_size": len(words_tokenizer()), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "model_type": "mistral"}
    eyes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Mistral3Config(
        text_config={**text, **heads},
        vision_config={**eyes, "image_size": 28, "patch_size": 14, "model_type": "pixtral"},
    )
    return diffusers.Flux2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux_2_autoencoder(),
        text_encoder=transformers.Mistral3ForConditionalGeneration(config).eval(),
        tokenizer=words_tokenizer(),
        transformer=_flux_2_transformer(16, True),
    )


def flux_2_klein(cls=diffusers.Flux2KleinPipeline, **extra):
    text = language_model(transformers.Qwen3ForCausalLM, 28, hidden_size=8, intermediate_size=16, head_dim=8)
    return cls(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux_2_autoencoder(),
        text_encoder=text,
        tokenizer=words_tokenizer(),
        transformer=_flux_2_transformer(24, False),
        **extra,
    )


def hidream():
    transformer = diffusers.HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[32, 32],
        text_emb_dim=64,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(4, 6, 6),
        max_resolution=(32, 32),
        llama_layers=[0, 1],
    )
    words = words_tokenizer()
    words.pad_token = words.eos_token
    return diffusers.HiDreamImagePipeline(
        scheduler=flow(),
        vae=autoencoder(4),
        text_encoder=clip_text(projected=True),
        tokenizer=tokenizer(),
        text_encoder_2=clip_text(projected=True),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5_text(),
        tokenizer_3=tokenizer(),
        text_encoder_4=language_model(transformers.LlamaForCausalLM),
        tokenizer_4=words,
        transformer=transformer.eval(),
    )


def bria():
    transformer = diffusers.BriaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[0, 8, 8],
    )
    return diffusers.BriaPipeline(
        transformer=transformer.eval(),
        scheduler=flow(),
        vae=autoencoder(4),
        text_encoder=t5_text(),
        tokenizer=tokenizer(),
    )


_LENGTH = {"max_sequence_length": 8}
_TWICE = {"true_cfg_scale": 2.0, "negative_prompt": "a dog"}

TOYS = {
    "ChromaPipeline": Recipe(chroma, PROMPT, {**SMALL, **_LENGTH}),
    "AuraFlowPipeline": Recipe(aura_flow, PROMPT, {**SMALL, **_LENGTH}),
    "QwenImagePipeline": Recipe(qwen_image, PROMPT, {**SMALL, **_LENGTH, **_TWICE}),
    "LuminaPipeline": Recipe(lumina, PROMPT, {**SMALL, "height": 64, "width": 64}),
    "Lumina2Pipeline": Recipe(lumina_2, PROMPT, {**SMALL, **_LENGTH, "height": 64, "width": 64}),
    "OvisImagePipeline": Recipe(ovis_image, PROMPT, SMALL),
    "ZImagePipeline": Recipe(z_image, PROMPT, {**SMALL, **_LENGTH}),
    "Flux2Pipeline": Recipe(flux_2, PROMPT, {**SMALL, "max_sequence_length": 14, "text_encoder_out_layers": (1,)}),
    "Flux2KleinPipeline": Recipe(flux_2_klein, PROMPT, {**SMALL, "max_sequence_length": 14, "guidance_scale": 4.0}),
    "HiDreamImagePipeline": Recipe(hidream, PROMPT, {**SMALL, **_LENGTH}),
    "BriaPipeline": Recipe(bria, PROMPT, {**SMALL, **_LENGTH}),
}
