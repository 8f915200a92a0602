"""What several toys are made of: autoencoders, text encoders, tokenizers, a UNet, a picture.

Everything is of one or two layers, float32 and random; the weights come from the seed that `build` sets.
"""

from typing import Any, NamedTuple

import diffusers
import numpy as np
import transformers
from PIL import Image
from samplesmith import assets

PROMPT = "a cat on pink"
SMALL = {"height": 32, "width": 32, "num_inference_steps": 2}
PICTURE_SIDE = 32


class Recipe(NamedTuple):
    """How a toy is made and called.

    Attributes:
        make: builds the pipeline.
        prompt: a text, or a class label.
        arguments: of its call, beside the prompt.
    """

    make: Any
    prompt: str | int
    arguments: dict[str, Any]


def tokenizer() -> transformers.CLIPTokenizer:
    return transformers.CLIPTokenizer.from_pretrained(assets.path("emoji-sd3") / "tokenizer")


def words_tokenizer(**special: str) -> transformers.PreTrainedTokenizerFast:
    """A word-level tokenizer with a chat template, as language models have.

    Args:
        special: further special tokens, by the names that transformers gives them.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted(word.removesuffix("</w>") for word in tokenizer().get_vocab())
    tokens = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", **special}
    vocabulary = {word: k for k, word in enumerate(dict.fromkeys([*tokens.values(), *words]))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **tokens)
    made.chat_template = (
        "{% for m in messages %}{{ m['role'] }} "
        "{% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{% for part in m['content'] %}{{ part.get('text', '') }} {% endfor %}{% endif %} "
        "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
    )
    return made


def autoencoder(latent_channels: int = 4, **changes: Any) -> diffusers.AutoencoderKL:
    settings = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": latent_channels,
        "norm_num_groups": 4,
        "sample_size": 32,
        "use_quant_conv": latent_channels == 4,
        "use_post_quant_conv": latent_channels == 4,
        "shift_factor": 0.0,
        "scaling_factor": 1.0,
    }
    return diffusers.AutoencoderKL(**{**settings, **changes}).eval()


def autoencoder_of_eight(latent_channels: int = 4, **changes: Any) -> diffusers.AutoencoderKL:
    """One that makes eight pixels a side of a latent, for pipelines that take no other."""
    blocks = {
        "block_out_channels": (4, 4, 4, 4),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return autoencoder(latent_channels, **blocks, **changes)


def clip_text(projected: bool = False, width: int = 32, **changes: Any):
    words = tokenizer()
    settings = {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 14,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.eos_token_id,
    }
    config = transformers.CLIPTextConfig(**{**settings, **changes})
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config).eval()


def clip_vision(width: int = 32, side: int = PICTURE_SIDE) -> transformers.CLIPVisionModelWithProjection:
    config = transformers.CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=8,
    )
    return transformers.CLIPVisionModelWithProjection(config).eval()


def clip_processor(side: int = PICTURE_SIDE) -> transformers.CLIPImageProcessor:
    return transformers.CLIPImageProcessor(size=side, crop_size=side)


def t5_text(width: int = 32, kind: type = transformers.T5EncoderModel) -> transformers.T5EncoderModel:
    settings = {"vocab_size": len(tokenizer()), "d_model": width, "d_ff": 2 * width, "d_kv": 8}
    config = kind.config_class(**settings, num_layers=1, num_heads=2)
    return kind(config).eval()


def unet(**changes: Any) -> diffusers.UNet2DConditionModel:
    settings = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
    }
    return diffusers.UNet2DConditionModel(**{**settings, **changes}).eval()


def picture(seed: int = 0, side: int = PICTURE_SIDE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def mask(side: int = PICTURE_SIDE) -> Image.Image:
    """White, to be painted anew, in the left half."""
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[:, : side // 2] = 255
    return Image.fromarray(pixels)


def stirred(model, amount: float = 0.05):
    """A model whose zero-initialised layers are zero no longer: a ControlNet's would hide its picture."""
    import torch

    for parameter in model.parameters():
        parameter.data += amount * torch.randn(parameter.shape)
    return model.eval()


def language_model(kind: type, layers: int = 2, **changes):
    """A causal model of transformers, of the words of `words_tokenizer`; its hidden states are 32 wide."""
    settings = {
        "vocab_size": len(words_tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    return kind(kind.config_class(**{**settings, **changes})).eval()


def qwen_vl(kind: type | None = None, layers: int = 2):
    """Qwen2.5-VL, whose eyes are of one layer and not used here."""
    kind = kind or transformers.Qwen2_5_VLForConditionalGeneration
    words = len(words_tokenizer())
    text = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_scaling": {"type": "default", "mrope_section": [2, 3, 3]},
        "rope_theta": 10000.0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    eyes = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
        "patch_size": 14,
    }
    return kind(kind.config_class(text_config=text, vision_config=eyes, vocab_size=words)).eval()
