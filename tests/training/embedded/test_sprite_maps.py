import numpy as np
import pytest
import torch
from samplesmith import scenes
from samplesmith.training.embedded.sprite_maps import PATCH, focal_loss, patch_maps


def test_each_whole_sprite_marks_the_patch_of_its_centre():
    drawn = scenes.draw(np.random.default_rng(0), scenes.parse("two cats and a dog on blue"))
    maps = patch_maps([drawn])[0]
    assert maps.sum() == len({(s.object, *(int(p / PATCH) for p in s.center)) for s in drawn.sprites})
    for sprite in drawn.sprites:
        x, y = (int(position / PATCH) for position in sprite.center)
        assert maps[y * (scenes.IMAGE_SIZE // PATCH) + x, scenes.OBJECTS.index(sprite.object)] == 1


def test_the_focal_loss_is_its_formula():
    """A centre of probability 1/2: -(1/2)^2 log(1/2); beside it, at a target of 1/2: -(1/2)^4 (1/2)^2 log(1/2)."""
    found = focal_loss(torch.zeros(2), torch.tensor([1.0, 0.5])).item()
    assert found == pytest.approx((0.25 + 0.5**6) * np.log(2), rel=1e-5)
