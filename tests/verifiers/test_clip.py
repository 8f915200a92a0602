import shutil
import warnings

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file
from samplesmith import assets, scenes
from samplesmith.scenes.hard_captions import hard_captions
from samplesmith.verifiers import CLIPVerifier, load_verifier
from samplesmith.verifiers.clip import _activation, _warn_of_published
from samplesmith.verifiers.preprocessing import OpenClipPreprocessing
from torch import nn


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


TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny_openai(tmp_path, monkeypatch):
    """open_clip's own models and tags, with networks small enough to build; each tag's weights are a file here."""
    for name in ("ViT-L-14", "ViT-L-14-quickgelu", "roberta-ViT-B-32"):
        config = TINY | {key: value for key, value in open_clip.get_model_config(name).items() if key == "quick_gelu"}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = open_clip.create_model("ViT-L-14").state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(tmp_path / "weights.pt"))
    return tmp_path / "weights.pt"


def activations(verifier):
    kinds = {nn.GELU: "GELU", QuickGELU: "QuickGELU"}
    return {kinds[type(one)] for one in verifier.model.modules() if type(one) in kinds}


@pytest.mark.parametrize(
    ("model", "tag", "activation"),
    [
        ("ViT-L-14", "openai", "QuickGELU"),
        ("ViT-L-14", "metaclip_400m", "QuickGELU"),
        ("ViT-L-14", "dfn2b", "QuickGELU"),
        ("ViT-L-14", "laion2b_s32b_b82k", "GELU"),
        ("ViT-L-14-quickgelu", "openai", "QuickGELU"),
    ],
)
def test_a_tag_gets_the_activation_that_it_was_trained_with(tiny_openai, model, tag, activation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verifier = load_verifier(f"clip:{model}:{tag}")
    assert activations(verifier) == {activation}
    own = open_clip.get_pretrained_cfg(model, tag)
    assert verifier.preprocess.mean == tuple(own["mean"])
    assert verifier.preprocess.config.interpolation == own["interpolation"]


def test_every_tag_of_open_clip_gets_its_own_activation():
    """Asked of open_clip's lists, without building the networks."""
    for model, tag in open_clip.list_pretrained():
        built = open_clip.get_model_config(model).get("quick_gelu", False)
        trained = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
        changes = _activation(model, tag)
        assert changes.get("force_quick_gelu", changes.get("quick_gelu", built)) == trained
        assert bool(changes) == (built != trained)


def test_a_network_with_quick_gelu_in_its_config_runs_without_it_where_its_tag_does(tiny_openai, monkeypatch):
    own = open_clip.get_pretrained_cfg("ViT-L-14", "openai") | {"quick_gelu": False}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: own)
    monkeypatch.setattr(open_clip.factory, "get_pretrained_cfg", lambda *_: own)
    assert activations(CLIPVerifier.load("ViT-L-14-quickgelu", "openai")) == {"GELU"}


def test_a_file_runs_with_what_its_models_name_says(tiny_openai):
    assert activations(CLIPVerifier.load("ViT-L-14", tiny_openai)) == {"GELU"}
    assert activations(CLIPVerifier.load("ViT-L-14-quickgelu", tiny_openai)) == {"QuickGELU"}


def test_a_file_of_a_model_whose_published_weights_all_run_otherwise_warns(tiny_openai, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CLIPVerifier.load("ViT-L-14", tiny_openai)  # some of its tags have GELU, some QuickGELU
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "RN50", TINY)
    with pytest.warns(UserWarning, match=r"all published weights of it need QuickGELU .*-quickgelu\)$"):
        CLIPVerifier.load("RN50", tiny_openai)
    with pytest.warns(UserWarning, match=r"need mean \[0\.5, 0\.5, 0\.5\].*; std .*; resize_mode squash"):
        _warn_of_published("ViT-B-16-SigLIP", "weights.pt", OpenClipPreprocessing())  # its tokenizer is on the hub


@pytest.fixture
def folder(tmp_path):
    """A copy of emoji-clip that may be spoiled."""
    folder = tmp_path / "copy"
    shutil.copytree(assets.path("emoji-clip"), folder)
    return folder


def test_a_folder_without_weights_is_one_sentence(folder):
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"folder .*copy holds no weights .* beside its open_clip_config\.json"):
        load_verifier(folder)


def spoil(folder, kind):
    weights = folder / "open_clip_model.safetensors"
    if kind == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 1\n")
        return r"open_clip_model\.safetensors is a git-lfs pointer, not the weights: run git lfs pull"
    if kind == "torn":
        weights.write_bytes(weights.read_bytes()[:1000])
    if kind == "other network":
        save_file({"visual.conv1.weight": torch.zeros(2, 3, 4, 4), "logit_scale": torch.zeros(())}, weights)
    if kind == "other width":
        state = load_file(weights)
        state["text_projection"] = torch.zeros(7, 7)
        save_file(state, weights)
    if kind == "config":
        (folder / "open_clip_config.json").write_text("{")
    return r"open_clip cannot load .*copy: .*; check that the weights are whole and of this model"


@pytest.mark.parametrize("kind", ["pointer", "torn", "other network", "other width", "config"])
def test_what_cannot_be_loaded_is_one_sentence_with_its_name(folder, kind):
    message = spoil(folder, kind)
    with pytest.raises(ValueError, match=message) as caught:
        load_verifier(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_one_sentence(tmp_path):
    save_file({"visual.conv1.weight": torch.zeros(2, 3, 4, 4)}, tmp_path / "other.safetensors")
    name = min((n for n in open_clip.list_models() if n.startswith("ViT-S-32")), key=len)
    with pytest.raises(ValueError, match=r"open_clip cannot load '.*other\.safetensors' for ViT-S-32") as caught:
        load_verifier(f"clip:{name}:{tmp_path / 'other.safetensors'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [("ViT-Z-1", None, "neither a folder nor a model"), ("ViT-B-32", "nothing.pt", "neither a file nor a tag")],
)
def test_unknown_models_are_one_sentence(model, weights, message):
    with pytest.raises(ValueError, match=message):
        CLIPVerifier.load(model, weights)
