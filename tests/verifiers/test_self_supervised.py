import pytest
import torch
import torch.nn.functional as F
from fakes import Brightness, small_classifier
from PIL import Image
from samplesmith.verifiers import SelfSupervisedVerifier
from torch import nn


@pytest.fixture
def final():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def pixels(pictures):
    return pictures - 0.5


def test_it_is_the_cosine_of_the_features(final, noise):
    early = (final + 0.3 * noise).clamp(0, 1)
    a, b = (pixels(x).flatten(1) for x in (final, early))
    expected = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    assert torch.allclose(SelfSupervisedVerifier(pixels)(final, "x", early), expected, atol=1e-6)


def test_what_settled_scores_one_and_more_change_scores_less(final, noise):
    verifier = SelfSupervisedVerifier(pixels)
    assert torch.allclose(verifier(final, "x", final), torch.ones(4), atol=1e-6)
    scores = [verifier(final, "x", (final + size * noise).clamp(0, 1)) for size in (0.05, 0.2, 0.8)]
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()


def test_each_image_is_compared_with_its_own_preview_in_any_batch(final, noise):
    early = (final + 0.3 * noise).clamp(0, 1)
    verifier = SelfSupervisedVerifier(pixels)
    whole = verifier(final, "x", early)
    verifier.batch_size = 3
    assert torch.equal(verifier(final, "x", early), whole)
    assert not torch.allclose(verifier(final, "x", early.flip(0)), whole, atol=1e-2)


def test_images_of_clip_and_of_a_classifier(emoji_clip, final):
    small = F.interpolate(final, size=(16, 16), mode="area")
    a, b = (emoji_clip.image_features(x) for x in (final, small))
    verifier = SelfSupervisedVerifier(emoji_clip.image_features, "settled")
    assert verifier.name == "settled"
    assert torch.allclose(verifier(final, "x", small), (a * b).sum(1), atol=1e-5)
    model = small_classifier().train()
    scores = SelfSupervisedVerifier(model.features)(final, "x", final.flip(3))
    assert not model.training
    assert (scores < 1).all()


def test_pil_images_are_taken(final):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert torch.allclose(SelfSupervisedVerifier(pixels)(pictures, "x", pictures[::-1]), torch.tensor([-1 / 3, -1 / 3]))


def test_gradients_reach_the_images_and_not_the_features(final, noise):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    x = final.requires_grad_()
    SelfSupervisedVerifier(module)(x, "x", (final + noise).detach()).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in module.parameters())


class Recorder(nn.Linear):
    """Features that note where the pictures lie that they are given."""

    def forward(self, pictures):
        self.seen = pictures.device.type
        return torch.ones(len(pictures), 2)


def test_moving_it_moves_the_module_and_what_it_is_given(final):
    module = Recorder(3, 4, bias=False, device="meta")
    verifier = SelfSupervisedVerifier(module)
    verifier(final, "x", final)
    assert module.seen == "cpu"
    verifier.to("meta")
    verifier(final, "x", final)
    assert module.seen == "meta"


def test_without_previews_it_says_what_it_needs(final):
    with pytest.raises(ValueError, match="self-supervised compares images with earlier clean predictions"):
        SelfSupervisedVerifier(pixels)(final, "x")
    assert not Brightness().needs_previews
