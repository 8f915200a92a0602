import pytest
import torch
from samplesmith.models.scene_detector import SceneDetector
from samplesmith.scenes import BACKGROUNDS, OBJECTS


def detector():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SceneDetector(width=8).eval()


@pytest.fixture
def images():
    return 2 * torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) - 1


def test_maps_of_objects_boxes_and_backgrounds(images):
    heat, box, background = detector()(images)
    assert heat.shape == (2, len(OBJECTS) + 1, 16, 16)
    assert box.shape == (2, 3, 16, 16)
    assert background.shape == (2, len(BACKGROUNDS))


def test_saved_in_half_precision_and_loaded_in_single(images, tmp_path):
    model = detector()
    model.save_pretrained(tmp_path / "deep/detector")
    before = torch.get_rng_state()
    again = SceneDetector.from_pretrained(tmp_path / "deep/detector")
    assert torch.equal(before, torch.get_rng_state())
    assert not again.training
    assert again.config == model.config
    assert {value.dtype for value in again.parameters()} == {torch.float32}
    for made, expected in zip(again(images), model(images), strict=True):
        assert torch.allclose(made, expected, atol=2e-2)
