import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith import fashion
from samplesmith.verifiers import ClassVerifier, FashionClassifier
from samplesmith.verifiers.classifier import class_number


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FashionClassifier(width=8).eval()


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
    import copy

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


def test_the_verifier_scores_the_class_that_is_asked_for(model, images):
    verifier = ClassVerifier(model)
    expected = model(images).log_softmax(1)
    scores = verifier(images.expand(-1, 3, -1, -1), ["0", "Bag", "Ankle boot", "3"])
    assert torch.allclose(scores, expected[range(4), [0, 8, 9, 3]], atol=1e-5)
    pictures = [Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)) for image in images]
    assert torch.allclose(verifier(pictures, "Bag"), expected[:, 8], atol=0.05)


def test_gradients_reach_the_images(model, images):
    pixels = images.expand(-1, 3, -1, -1).clone().requires_grad_()
    ClassVerifier(model)(pixels, "Dress").sum().backward()
    assert pixels.grad.abs().max() > 0


def test_classes_by_number_and_name():
    assert [class_number(name) for name in (*fashion.CLASSES, 3, "7")] == [*range(10), 3, 7]
    for wrong in ("10", "-1", "dress", ""):
        with pytest.raises(ValueError, match=r"is no class of Fashion-MNIST; known: 0 \(T-shirt/top\)"):
            class_number(wrong)


def test_it_loads_by_the_name_of_a_shipped_folder(model, images, tmp_path, monkeypatch):
    from samplesmith import assets
    from samplesmith.verifiers import load_verifier

    model.save_pretrained(tmp_path / "fashion-classifier")
    card = '{"kind": "verifier", "summary": "log-probability of a class", "loader": "classifier"}'
    (tmp_path / "fashion-classifier/samplesmith.json").write_text(card)
    monkeypatch.setattr(assets, "_ROOT", tmp_path)
    verifier = load_verifier("fashion-classifier")
    assert verifier.name == "fashion-classifier"
    assert torch.allclose(verifier.model(images), model(images), atol=1e-5)
