import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith.verifiers import PreferenceVerifier
from transformers import CLIPModel, CLIPProcessor

PROMPTS = ["a cat on pink", "three dogs left of a tree on blue", "two frogs on white"]


def logits(folder, pictures, prompts):
    """What PickScore's model card computes."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(images=pictures, text=prompts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits_per_image


def pictures(side, count=3):
    rng = np.random.default_rng(0)
    smooth = rng.random((count, 4, 4, 3))
    return [
        Image.fromarray((one * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC) for one in smooth
    ]


def test_it_is_the_logit_of_each_image_for_its_own_prompt(clip_folder):
    verifier = PreferenceVerifier.load(clip_folder)
    assert verifier.name == "pick"
    expected = logits(clip_folder, pictures(32), PROMPTS).diagonal()
    assert torch.allclose(verifier(pictures(32), PROMPTS), expected, atol=1e-3)
    assert verifier.scale == pytest.approx(0.2 * verifier.logit_scale)


def test_other_sizes_are_brought_to_the_models_own_as_its_processor_does(clip_folder):
    verifier = PreferenceVerifier.load(clip_folder)
    for side in (96, 20):
        expected = logits(clip_folder, pictures(side), PROMPTS[:1])[:, 0]
        assert torch.allclose(verifier(pictures(side), PROMPTS[0]), expected, atol=1e-3)


def test_a_score_depends_on_its_own_prompt_alone(clip_folder):
    """The longest prompt of a batch sets no padding that another would feel."""
    verifier = PreferenceVerifier.load(clip_folder)
    alone = [verifier(pictures(32)[k : k + 1], PROMPTS[k]).item() for k in range(3)]
    assert PreferenceVerifier.load(clip_folder)(pictures(32), PROMPTS).tolist() == pytest.approx(alone, abs=1e-4)


def test_differentiable(clip_folder):
    x = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    PreferenceVerifier.load(clip_folder)(x, "a cat on pink").backward()
    assert x.grad.abs().sum() > 0


def test_an_open_clip_model_as_hpsv2s_gives_its_logit(emoji_clip):
    verifier = PreferenceVerifier(emoji_clip, "hpsv2")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    factor = emoji_clip.model.logit_scale.exp().item()
    assert factor > 2
    assert torch.allclose(verifier(images, "a cat on pink"), factor * emoji_clip(images, "a cat on pink"), rtol=1e-5)
    assert (verifier.name, emoji_clip.name) == ("hpsv2", "emoji-clip")
