"""A small CLIP model of transformers with random weights, saved as PickScore is."""

import toys
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor


def save_clip(folder, side=32, crop=32):
    """A CLIP model of transformers with random weights and the emoji models' tokenizer."""
    text = toys.clip_text(projected=True).config.to_dict()
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": 8,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    pixels = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": crop, "width": crop})
    model.save_pretrained(folder)
    CLIPProcessor(pixels, toys.tokenizer()).save_pretrained(folder)
    return model
