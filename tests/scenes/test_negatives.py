import numpy as np
import pytest
from samplesmith import scenes
from samplesmith.scenes import negatives
from samplesmith.scenes.hard_captions import hard_captions


@pytest.mark.parametrize("how", [*negatives.SPOILERS, None])
def test_spoiling_changes_one_sprite_and_nothing_else(how):
    rng = np.random.default_rng(0)
    for _ in range(10):
        before = scenes.draw(rng, scenes.sample_scene(rng))
        after = negatives.spoil(rng, before, how)
        (victim,) = set(before.sprites) - set(after.sprites)
        assert after.malformed == (victim,)
        changed = (before.image != after.image).any(-1)
        place = changed[victim.y : victim.y + victim.size, victim.x : victim.x + victim.size]
        assert place.sum() == changed.sum() > 20


def test_merged_sprites_are_malformed():
    rng = np.random.default_rng(4)
    for _ in range(30):
        before = scenes.draw(rng, scenes.sample_scene(rng))
        after = negatives.merge(rng, before)
        assert len(after.sprites) == len(before.sprites) - 1
        assert len(after.malformed) == 1
        assert (after.image != before.image).any()
        assert not after.shows(before.scene)


def test_changed_scenes_contradict_their_caption():
    rng = np.random.default_rng(1)
    for change in (negatives.remove, negatives.swap, negatives.add):
        after = None
        while after is None:  # two cats may leave no room for a third
            before = scenes.draw(rng, scenes.parse("two cats on blue"))
            after = change(rng, before)
        assert sorted(s.object for s in after.sprites) != ["cat", "cat"]
        assert (after.image != before.image).any()


def test_add_says_when_there_is_no_room():
    rng = np.random.default_rng(3)
    crowded = [negatives.add(rng, scenes.draw(rng, scenes.parse("six cats on blue")), tries=1) for _ in range(20)]
    assert None in crowded


def test_hard_captions_of_any_form_are_wrong():
    rng = np.random.default_rng(3)
    for _ in range(200):
        drawn = scenes.draw(rng, scenes.sample_scene(rng))
        asked = scenes.sample_description(rng, drawn.scene)
        wrong = [scenes.parse(caption) for caption in hard_captions(rng, asked, 4, drawn)]
        assert len(wrong) == 4
        assert not any(drawn.shows(other) for other in wrong)


def test_hard_captions_are_wrong_unique_and_about_the_same_objects():
    rng = np.random.default_rng(2)
    for _ in range(60):
        scene = scenes.sample_scene(rng)
        wrong = hard_captions(rng, scene, 31)
        assert len(set(wrong)) == 31
        for caption in wrong:
            other = scenes.parse(caption)
            assert set(other.counts) == set(scene.counts)
            same_counts = other.counts == scene.counts and other.background == scene.background
            assert not same_counts or (scene.relation is not None and other.relation is not None and other != scene)
