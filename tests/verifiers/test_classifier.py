import numpy as np
import pytest
import torch
from fakes import small_classifier
from PIL import Image
from samplesmith import fashion
from samplesmith.verifiers import ClassVerifier
from samplesmith.verifiers.classifier import class_number

IMAGES = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return small_classifier()


def test_the_verifier_scores_the_class_that_is_asked_for(model):
    verifier = ClassVerifier(model)
    expected = model(IMAGES).log_softmax(1)
    scores = verifier(IMAGES.expand(-1, 3, -1, -1), ["0", "Bag", "Ankle boot", "3"])
    assert torch.allclose(scores, expected[range(4), [0, 8, 9, 3]], atol=1e-5)
    pictures = [Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)) for image in IMAGES]
    assert torch.allclose(verifier(pictures, "Bag"), expected[:, 8], atol=0.05)


def test_gradients_reach_the_images(model):
    pixels = IMAGES.expand(-1, 3, -1, -1).clone().requires_grad_()
    ClassVerifier(model)(pixels, "Dress").sum().backward()
    assert pixels.grad.abs().max() > 0


def test_classes_by_number_and_name():
    assert [class_number(name) for name in (*fashion.CLASSES, 3, "7")] == [*range(10), 3, 7]
    for wrong in ("10", "-1", "dress", ""):
        with pytest.raises(ValueError, match=r"is no class of Fashion-MNIST; known: 0 \(T-shirt/top\)"):
            class_number(wrong)


def test_it_loads_by_the_name_of_a_shipped_folder(model, tmp_path, monkeypatch):
    from samplesmith import assets
    from samplesmith.verifiers import load_verifier

    model.save_pretrained(tmp_path / "fashion-classifier")
    card = '{"kind": "verifier", "summary": "log-probability of a class", "loader": "classifier"}'
    (tmp_path / "fashion-classifier/samplesmith.json").write_text(card)
    monkeypatch.setattr(assets, "_ROOT", tmp_path)
    verifier = load_verifier("fashion-classifier")
    assert verifier.name == "fashion-classifier"
    assert torch.allclose(verifier.model(IMAGES), model(IMAGES), atol=1e-5)
