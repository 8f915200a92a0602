import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from samplesmith import assets, scenes
from samplesmith.scenes.hard_captions import hard_captions
from samplesmith.verifiers import CLIPVerifier


def test_open_clip_itself_loads_the_shipped_model_and_gives_the_same_score(emoji_clip):
    with torch.random.fork_rng():
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{assets.path('emoji-clip')}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{assets.path('emoji-clip')}")
    image = scenes.draw(np.random.default_rng(0), scenes.parse("three cats on pink")).image
    picture = Image.fromarray(image)
    with torch.no_grad():
        expected = (
            model.eval().encode_image(preprocess(picture)[None], normalize=True)
            @ model.encode_text(tokenizer(["three cats on pink"]), normalize=True).T
        )
    assert emoji_clip([picture], "three cats on pink").item() == pytest.approx(expected.item(), abs=1e-5)


def test_picks_the_right_caption_of_32_hard_ones(emoji_clip):
    """On 100 scenes here; the model card has the figure on more."""
    rng = np.random.default_rng(123)
    images, drawn = scenes.draw_batch(rng, 100)
    features = emoji_clip.image_features(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    right = 0
    for one, feature in zip(drawn, features, strict=True):
        captions = [one.scene.caption, *hard_captions(rng, one.scene, 31)]
        right += int((emoji_clip.text_features(captions) @ feature).argmax()) == 0
    assert right >= 88


def test_each_prompt_is_encoded_once(emoji_clip, monkeypatch):
    calls = []
    original = emoji_clip.model.encode_text
    monkeypatch.setattr(emoji_clip.model, "encode_text", lambda *a, **k: calls.append(a) or original(*a, **k))
    images = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    emoji_clip(images, ["two dogs on white"] * 4)
    emoji_clip(images, "two dogs on white")
    assert len(calls) <= 1


def test_any_size_is_brought_to_the_models_own(emoji_clip):
    wide = torch.rand(1, 3, 100, 200, generator=torch.Generator().manual_seed(0))
    assert emoji_clip.preprocess(wide).shape == (1, 3, 128, 128)
    assert emoji_clip(wide, "a cat on pink").shape == (1,)


def test_differentiable(emoji_clip):
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    emoji_clip(x, "a cat on pink").backward()
    assert x.grad.abs().sum() > 0


def test_a_prompt_beyond_the_context_warns(emoji_clip):
    with pytest.warns(UserWarning, match="sees the prompt cut to 14 tokens"):
        emoji_clip.text_features(["a cat and a dog and a frog and a fish and a car on pink"])


def test_a_builtin_model_with_a_file_of_weights(tmp_path):
    """What ViT-H-14 with HPSv2's checkpoint does, on a model that is small enough to make here."""
    name = min((n for n in open_clip.list_models() if n.startswith("ViT-S-32")), key=len)
    with torch.random.fork_rng():
        model = open_clip.create_model(name)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pt")
    verifier = CLIPVerifier.load(name, tmp_path / "weights.pt")
    assert verifier.name == name
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = model.eval().encode_image(verifier.preprocess(images), normalize=True)
    assert torch.allclose(verifier.image_features(images), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [("ViT-Z-1", None, "neither a folder nor a model"), ("ViT-B-32", "nothing.pt", "neither a file nor a tag")],
)
def test_unknown_models_are_one_sentence(model, weights, message):
    with pytest.raises(ValueError, match=message):
        CLIPVerifier.load(model, weights)
