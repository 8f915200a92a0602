from collections import Counter

import numpy as np
import pytest
from samplesmith import scenes
from samplesmith.scenes import Both, Either, Not, parse
from samplesmith.scenes.sampling import probability

CAPTIONS = ("with a cat", "with a cat on blue", "a cat and a dog", "three cats", "on blue", "with two cats and a dog")


@pytest.fixture(scope="module")
def prior():
    rng = np.random.default_rng(0)
    return [scenes.sample_scene(rng) for _ in range(20_000)]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_scenes_of_a_caption_are_the_priors_given_that_it_holds(prior, caption):
    asked, rng = parse(caption), np.random.default_rng(1)
    true = [scene for scene in prior if scenes.holds(asked, scene)]
    expected = probability(asked)
    assert abs(len(true) / len(prior) - expected) < 4 * np.sqrt(expected / len(prior))
    drawn = [scenes.sample_true(rng, asked) for _ in range(1000)]
    assert all(scenes.holds(asked, scene) for scene in drawn)
    if len(true) > 300:
        by_prior, by_draw = (Counter(scene.kind for scene in found) for found in (true, drawn))
        for kind in scenes.KINDS:
            assert abs(by_prior[kind] / len(true) - by_draw[kind] / 1000) < 0.08


def test_open_captions_are_written_alike_often_of_all_scenes_that_they_are_true_of(prior):
    """Else a model that learns from them would draw single cats for "with a cat"."""
    rng, asked = np.random.default_rng(2), parse("with a cat")
    named = Counter()
    for _ in range(8):
        for scene in prior:
            if "cat" in scene.counts:
                part = scenes.sample_description(rng, scene)
                assert scenes.holds(part, scene)
                named[scene.kind] += (part.groups, part.open) == (asked.groups, True)
    true = Counter(scene.kind for scene in prior if scenes.holds(asked, scene))
    total, of_all = sum(named.values()), sum(true.values())
    for kind in scenes.KINDS:
        assert abs(named[kind] / total - true[kind] / of_all) < 0.1


def test_descriptions_have_every_form(prior):
    rng = np.random.default_rng(3)
    forms = Counter(scenes.sample_description(rng, scene).form for scene in prior[:4000])
    assert set(forms) == set(scenes.FORMS)
    assert 0.65 < forms["full"] / 4000 < 0.8


def test_conditions_draw_what_they_say(prior):
    rng = np.random.default_rng(4)
    cat, dog, blue = parse("with a cat"), parse("with a dog"), parse("on blue")
    for condition in (Both((cat, dog)), Either((cat, dog)), Both((cat, Not(blue))), Not(Either((cat, blue)))):
        assert all(scenes.holds(condition, scenes.sample_where(rng, condition)) for _ in range(50))
    assert scenes.holds(cat, parse("a cat and a fish on pink"))
    assert not scenes.holds(cat, parse("two cats and a fish on pink"))


def test_a_scene_of_both_parts_of_an_either_is_drawn_once(prior):
    """P(both | either) as in the prior."""
    rng, blue, count = np.random.default_rng(5), parse("on blue"), parse("with a cat")
    either = Either((blue, count))
    drawn = [scenes.sample_where(rng, either) for _ in range(2000)]
    both = np.mean([scenes.holds(Both((blue, count)), scene) for scene in drawn])
    p, q = probability(blue), probability(count)
    assert abs(both - p * q / (p + q - p * q)) < 0.015


@pytest.mark.parametrize(
    "condition",
    [
        Both((parse("with a cat"), parse("with two cats"))),
        Both((parse("on blue"), parse("on pink"))),
        Both((parse("with a cat"), Not(parse("with a cat")))),
    ],
)
def test_a_contradiction_is_named(condition, monkeypatch):
    monkeypatch.setattr("samplesmith.scenes.conditions.TRIES", 200)
    with pytest.raises(ValueError, match="no scene was found"):
        scenes.sample_where(np.random.default_rng(0), condition)


def test_an_open_caption_that_no_picture_holds_is_refused():
    with pytest.raises(ValueError, match="names more than pictures hold"):
        scenes.sample_true(np.random.default_rng(0), parse("with six cats and a dog"))
