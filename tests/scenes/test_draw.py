import numpy as np
import pytest
from samplesmith import scenes
from samplesmith.scenes import BACKGROUNDS, KINDS, Group, Scene, negatives


def test_sprites_show_what_the_caption_says_and_do_not_overlap():
    _, drawn = scenes.draw_batch(np.random.default_rng(0), 300)
    assert {one.scene.kind for one in drawn} == set(KINDS)
    for one in drawn:
        counts = {}
        for sprite in one.sprites:
            counts[sprite.object] = counts.get(sprite.object, 0) + 1
            assert 0 <= sprite.x <= 128 - sprite.size
            assert 0 <= sprite.y <= 128 - sprite.size
        assert counts == one.scene.counts
        for i, a in enumerate(one.sprites):
            for b in one.sprites[:i]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) >= a.size


@pytest.mark.parametrize(("relation", "axis"), [("left of", 0), ("above", 1)])
def test_relations_hold(relation, axis):
    rng = np.random.default_rng(1)
    for counts in ((1, 1), (2, 1), (2, 2)):
        scene = Scene((Group(counts[0], "cat"), Group(counts[1], "dog")), "blue", relation)
        for _ in range(20):
            one = scenes.draw(rng, scene)
            first, second = ([s.center[axis] for s in one.sprites if s.object == name] for name in ("cat", "dog"))
            assert max(first) < min(second)


def test_same_seed_same_pictures():
    a, b = (scenes.draw_batch(np.random.default_rng(5), 10)[0] for _ in range(2))
    assert (a == b).all()


def test_the_background_is_plain():
    one = scenes.draw(np.random.default_rng(0), scenes.parse("a star on green"))
    assert (one.image == BACKGROUNDS["green"]).all(-1).mean() > 0.5


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at most six sprites"):
        scenes.draw(np.random.default_rng(0), scenes.parse("four cats and three dogs on blue"))


def test_what_is_left_free_must_be_chosen_first():
    asked = scenes.parse("with a cat")
    with pytest.raises(ValueError, match="leaves something free"):
        scenes.draw(np.random.default_rng(0), asked)
    rng = np.random.default_rng(0)
    for _ in range(20):
        one = scenes.draw(rng, scenes.sample_true(rng, asked))
        assert one.shows(asked)
        assert one.shows(one.scene)
        assert not one.shows(scenes.parse("with two cats"))
        assert not negatives.spoil(rng, one).shows(asked)


def test_held_out_scenes_are_kept_apart():
    rng = np.random.default_rng(2)
    assert all(scenes.is_held_out(scenes.sample_scene(rng, held_out=True)) for _ in range(50))
    assert not any(scenes.is_held_out(scenes.sample_scene(rng, held_out=False)) for _ in range(200))
    share = np.mean(
        [scenes.is_held_out(Scene((Group(k, n),), b)) for k in range(1, 7) for n in scenes.OBJECTS for b in BACKGROUNDS]
    )
    assert 0.02 < share < 0.09
