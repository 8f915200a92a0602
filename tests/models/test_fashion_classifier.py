import copy

import pytest
import torch
from fakes import small_classifier
from safetensors.torch import load_file, save_file
from samplesmith import fashion
from samplesmith.models.fashion_classifier import FashionClassifier, load_classifier


@pytest.fixture(scope="module")
def model():
    return small_classifier()


@pytest.fixture
def images():
    return torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_logits_are_the_head_of_the_features(model, images):
    features = model.features(images)
    assert features.shape == (4, 32)
    assert torch.equal(model(images), features @ model.head.weight.T + model.head.bias)
    assert model(images).shape == (4, 10)


def test_grey_and_three_equal_channels_are_the_same(model, images):
    assert torch.allclose(model(images), model(images.expand(-1, 3, -1, -1)), atol=1e-5)


def test_pictures_of_28_pixels_get_their_black_border(model):
    small = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    padded = torch.from_numpy(fashion.pad(small[:, 0].numpy()))[:, None]
    assert torch.equal(model(small), model(padded))


def test_other_sizes_are_resized(model, images):
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (model(large) - model(images)).abs().max() < 0.1 * model(images).abs().max()


def test_saved_in_half_precision_and_loaded(model, images, tmp_path):
    copy.deepcopy(model).half().save_pretrained(tmp_path)
    again = FashionClassifier.from_pretrained(tmp_path, dtype=torch.float32)
    assert again.dtype == torch.float32
    assert torch.allclose(again.eval()(images), model(images), atol=2e-2)


def test_the_shipped_size_is_within_a_megabyte():
    with torch.random.fork_rng():
        model = FashionClassifier()
    assert 2 * sum(value.numel() for value in model.state_dict().values()) < 1e6


@pytest.mark.parametrize(
    "wrong", [torch.zeros(1, 2, 32, 32), torch.zeros(1, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.uint8)]
)
def test_other_tensors_are_one_sentence(model, wrong):
    with pytest.raises(ValueError, match=r"expected a float tensor \(batch, 1 or 3, height, width\)"):
        model(wrong)


def test_weights_that_lack_a_part_are_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert not load_classifier(tmp_path).training
    state = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    del state["head.bias"]
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    with (
        torch.random.fork_rng(),
        pytest.raises(ValueError, match=r"weights of the classifier in .* lack head\.bias"),
    ):
        load_classifier(tmp_path)
