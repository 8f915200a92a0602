import numpy as np
from samplesmith import scenes
from samplesmith.training.embedded.nearly_right import nearly_right, unique_scenes


def test_nearly_right_contradicts_the_caption_of_any_form():
    rng = np.random.default_rng(0)
    for _ in range(150):
        drawn = scenes.draw(rng, scenes.sample_scene(rng))
        caption = scenes.sample_description(rng, drawn.scene)
        assert drawn.shows(caption)
        assert not nearly_right(rng, drawn, caption).shows(caption)


def test_no_two_scenes_have_the_same_caption():
    drawn = unique_scenes(np.random.default_rng(0), 60, held_out=False)
    assert len({picture.scene.caption for picture in drawn}) == 60
    assert not any(scenes.is_held_out(picture.scene) for picture in drawn)
