import itertools

import numpy as np
import pytest
import torch
from samplesmith import scenes
from samplesmith.scenes import negatives
from samplesmith.verifiers import AestheticVerifier, load_verifier
from samplesmith.verifiers.aesthetic import load_head
from torch import nn


def laion_v2(width: int) -> nn.Module:
    """The layout of sac+logos+ava1-l14-linearMSE.pth."""
    model = nn.Module()
    sizes = [width, 1024, 128, 64, 16]
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Dropout(0.2)]
    model.layers = nn.Sequential(*layers[:-1], nn.Linear(16, 1))
    return model


@pytest.fixture
def _forked():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.usefixtures("_forked")
def test_laion_v1_linear(tmp_path, emoji_clip):
    head = nn.Linear(128, 1)
    torch.save(head.state_dict(), tmp_path / "sa_0_4_vit_b_32_linear.pth")
    verifier = AestheticVerifier(emoji_clip, load_head(tmp_path / "sa_0_4_vit_b_32_linear.pth"))
    images = torch.rand(3, 3, 128, 128)
    assert torch.allclose(verifier(images, ""), head(emoji_clip.image_features(images))[:, 0])


@pytest.mark.usefixtures("_forked")
def test_laion_v2_mlp(tmp_path, emoji_clip):
    model = laion_v2(128).eval()
    torch.save(model.state_dict(), tmp_path / "v2.pth")
    verifier = AestheticVerifier(emoji_clip, load_head(tmp_path / "v2.pth"))
    images = torch.rand(3, 3, 128, 128)
    expected = model.layers(emoji_clip.image_features(images))[:, 0]
    assert torch.allclose(verifier(images, ""), expected, atol=1e-6)


@pytest.mark.usefixtures("_forked")
def test_a_head_of_another_width_is_one_sentence(tmp_path, emoji_clip):
    torch.save(laion_v2(768).state_dict(), tmp_path / "v2.pth")
    with pytest.raises(ValueError, match="expects features of width 768 but emoji-clip gives 128"):
        AestheticVerifier(emoji_clip, load_head(tmp_path / "v2.pth"))


def test_a_file_that_runs_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match="is no aesthetic head"):
        load_head(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_ranks_clean_above_degraded():
    verifier = load_verifier("emoji-aesthetic")
    rng = np.random.default_rng(5)
    images, drawn = scenes.draw_batch(rng, 100)
    worse = np.stack([negatives.spoil(rng, one).image for one in drawn])
    tensors = [torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in (images, worse)]
    assert (verifier(tensors[0], "") > verifier(tensors[1], "")).float().mean() >= 0.8
