import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith import scenes
from samplesmith.scenes import negatives
from samplesmith.training.embedded.explanation import explain, tolerant_difference
from samplesmith.training.embedded.generated_scenes import label

CAPTIONS = ("two cats and a dog on blue", "four bicycles on pink", "a fish and three butterflies on blue")


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_scene_is_explained_by_its_own_sprites(caption):
    """Also thin ones, and those whose colour is nearly the background's."""
    drawn = scenes.draw(np.random.default_rng(1), scenes.parse(caption))
    seen = label(drawn.image, explain(drawn.image))
    assert seen.background == drawn.background
    assert not seen.malformed
    assert not seen.doubtful
    places = sorted((sprite.object, *sprite.center) for sprite in seen.sprites)
    for found, true in zip(places, sorted((s.object, *s.center) for s in drawn.sprites), strict=True):
        assert found[0] == true[0]
        assert np.abs(np.subtract(found[1:], true[1:])).max() <= 2


@pytest.mark.parametrize("how", ["cut", "crossed", "doubled", "warped", "shuffled"])
def test_a_spoiled_sprite_is_malformed_and_the_others_stay_whole(how):
    rng = np.random.default_rng(3)
    drawn = negatives.spoil(rng, scenes.draw(rng, scenes.parse("two cats and a car on white")), how)
    seen = label(drawn.image, explain(drawn.image))
    assert sorted(sprite.object for sprite in seen.sprites) == sorted(sprite.object for sprite in drawn.sprites)
    places = [sprite.center for sprite in seen.malformed]
    assert any(np.abs(np.subtract(drawn.malformed[0].center, place)).max() < 20 for place in places)


def test_an_empty_picture_holds_nothing():
    image = np.full((128, 128, 3), scenes.BACKGROUNDS["green"], np.uint8)
    seen = explain(image)
    assert seen.background == "green"
    assert seen.fits == seen.strays == ()


@settings(max_examples=20, deadline=None)
@given(st.integers(-2, 2), st.integers(-1, 1))
def test_a_picture_differs_from_itself_moved_by_two_pixels_nowhere_but_at_the_edge(dx, dy):
    image = np.random.default_rng(0).random((24, 24, 3), np.float32)
    apart = tolerant_difference(image, np.roll(image, (dy, dx), (0, 1)))
    assert apart[2:-2, 2:-2].max() == 0
