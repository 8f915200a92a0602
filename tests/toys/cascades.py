"""Pipelines of several stages, each a diffusion: Stable Cascade, Wuerstchen, unCLIP."""

import diffusers

from .parts import PROMPT, Recipe, autoencoder, clip_processor, clip_text, clip_vision, tokenizer, unet


def _vqgan():
    from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

    return PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2, embed_dim=8).eval()


def _short_tokenizer():
    words = tokenizer()
    words.model_max_length = 14
    return words


def _cascade_prior():
    return diffusers.StableCascadeUNet(
        conditioning_dim=16,
        block_out_channels=(8, 16),
        num_attention_heads=(2, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        switch_level=(False,),
        clip_image_in_channels=32,
        clip_text_in_channels=32,
        clip_text_pooled_in_channels=32,
        dropout=(0.0, 0.0),
    ).eval()


def _cascade_decoder():
    return diffusers.StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        conditioning_dim=16,
        block_out_channels=(16, 32),
        num_attention_heads=(-1, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1),
        block_types_per_layer=(
            ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        ),
        switch_level=None,
        clip_text_pooled_in_channels=32,
        dropout=(0.1, 0.1),
    ).eval()


def stable_cascade():
    return diffusers.StableCascadeCombinedPipeline(
        tokenizer=_short_tokenizer(),
        text_encoder=clip_text(projected=True),
        decoder=_cascade_decoder(),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=_vqgan(),
        prior_prior=_cascade_prior(),
        prior_text_encoder=clip_text(projected=True),
        prior_tokenizer=_short_tokenizer(),
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
        prior_feature_extractor=clip_processor(),
        prior_image_encoder=clip_vision(),
    )


def wuerstchen():
    from diffusers.pipelines.deprecated.wuerstchen import WuerstchenDiffNeXt, WuerstchenPrior

    decoder = WuerstchenDiffNeXt(
        c_cond=32,
        c_hidden=[16],
        nhead=[2],
        blocks=[1],
        level_config=["CT"],
        inject_effnet=[False],
        effnet_embd=16,
        clip_embd=32,
    )
    prior = WuerstchenPrior(c_in=16, c=16, c_cond=32, depth=1, nhead=2)
    return diffusers.WuerstchenCombinedPipeline(
        tokenizer=_short_tokenizer(),
        text_encoder=clip_text(),
        decoder=decoder.eval(),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=_vqgan(),
        prior_tokenizer=_short_tokenizer(),
        prior_text_encoder=clip_text(),
        prior_prior=prior.eval(),
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
    )


_RESNETS = {
    "down_block_types": ("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "in_channels": 6,
    "out_channels": 3,
}


def unclip():
    from diffusers.pipelines.deprecated.unclip import UnCLIPTextProjModel

    prior = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1, num_embeddings=14
    )
    decoder = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
    )
    schedule = {"variance_type": "learned_range", "prediction_type": "epsilon", "num_train_timesteps": 1000}
    small_noise = {**schedule, "variance_type": "fixed_small_log"}
    return diffusers.UnCLIPPipeline(
        prior=prior.eval(),
        decoder=decoder.eval(),
        text_encoder=clip_text(projected=True),
        tokenizer=_short_tokenizer(),
        text_proj=UnCLIPTextProjModel(clip_embeddings_dim=32, time_embed_dim=32, cross_attention_dim=16).eval(),
        super_res_first=diffusers.UNet2DModel(sample_size=32, **_RESNETS).eval(),
        super_res_last=diffusers.UNet2DModel(sample_size=32, **_RESNETS).eval(),
        prior_scheduler=diffusers.UnCLIPScheduler(
            **{**small_noise, "prediction_type": "sample", "clip_sample_range": 5.0}
        ),
        decoder_scheduler=diffusers.UnCLIPScheduler(**schedule),
        super_res_scheduler=diffusers.UnCLIPScheduler(**small_noise),
    )


def stable_unclip():
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    prior = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1, num_embeddings=14
    )
    return diffusers.StableUnCLIPPipeline(
        prior_tokenizer=_short_tokenizer(),
        prior_text_encoder=clip_text(projected=True),
        prior=prior.eval(),
        prior_scheduler=diffusers.DDPMScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            clip_sample=True,
            clip_sample_range=5.0,
            beta_schedule="squaredcos_cap_v2",
        ),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=32).eval(),
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_short_tokenizer(),
        text_encoder=clip_text(),
        unet=unet(class_embed_type="projection", projection_class_embeddings_input_dim=64),
        scheduler=diffusers.DDIMScheduler(),
        vae=autoencoder(),
    )


TOYS = {
    "StableCascadeCombinedPipeline": Recipe(
        stable_cascade, PROMPT, {"height": 128, "width": 128, "prior_num_inference_steps": 2, "num_inference_steps": 2}
    ),
    "WuerstchenCombinedPipeline": Recipe(
        wuerstchen, PROMPT, {"height": 128, "width": 128, "prior_num_inference_steps": 2, "num_inference_steps": 2}
    ),
    "UnCLIPPipeline": Recipe(
        unclip,
        PROMPT,
        {
            "prior_num_inference_steps": 2,
            "decoder_num_inference_steps": 2,
            "super_res_num_inference_steps": 2,
        },
    ),
    "StableUnCLIPPipeline": Recipe(
        stable_unclip,
        PROMPT,
        {"height": 32, "width": 32, "prior_num_inference_steps": 2, "num_inference_steps": 2},
    ),
}
