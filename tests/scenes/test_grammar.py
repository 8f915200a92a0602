import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.scenes import (
    BACKGROUNDS,
    OBJECTS,
    Group,
    PromptError,
    Scene,
    UnknownWordError,
    parse,
    unknown_words,
    with_digits,
)


@st.composite
def any_scene(draw):
    names = draw(st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=3, unique=True))
    relation = draw(st.sampled_from([None, "left of", "above"])) if len(names) == 2 else None
    groups = tuple(Group(draw(st.integers(1, 6)), name) for name in names)
    background = draw(st.sampled_from([None, *BACKGROUNDS]))
    if background and draw(st.integers(0, 5)) == 0:
        return Scene((), background, open=True)
    return Scene(groups, background, relation, draw(st.booleans()))


@given(any_scene())
def test_caption_and_parse_are_inverse(scene):
    assert parse(scene.caption) == scene
    assert parse(with_digits(scene.caption)) == scene


@pytest.mark.parametrize(
    ("prompt", "form", "counts", "background"),
    [
        ("5 fish on pink", "full", {"fish": 5}, "pink"),
        ("a cat", "any background", {"cat": 1}, None),
        ("with a cat", "open", {"cat": 1}, None),
        ("with two cats and a dog", "open", {"cat": 2, "dog": 1}, None),
        ("with a car left of a tree on blue", "open", {"car": 1, "tree": 1}, "blue"),
        ("On blue", "background only", {}, "blue"),
    ],
)
def test_forms(prompt, form, counts, background):
    scene = parse(prompt)
    assert (scene.form, scene.counts, scene.background) == (form, counts, background)


def test_what_a_caption_leaves_out_is_free():
    full, named = parse("two cats on blue"), parse("with two cats")
    assert not full.counts_hold({"cat": 2, "dog": 1})
    assert named.counts_hold({"cat": 2, "dog": 1})
    assert not named.counts_hold({"cat": 3})
    assert named.background_holds("pink")
    assert not full.background_holds("pink")
    assert parse("with a cat left of a dog").relation_holds([("dog", 90, 5), ("cat", 20, 60), ("fish", 5, 5)])


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a cat on pink", "count"),
        ("an apple and a dog on gray", "pair"),
        ("Two butterflies and three fish on blue.", "mixed"),
        ("a frog and a ball and a house on pink", "triple"),
        ("a car left of a tree on yellow", "left"),
        ("two cats above a dog on white", "counted-above"),
    ],
)
def test_kinds(prompt, kind):
    assert parse(prompt).kind == kind


def test_unknown_words_are_named_with_the_known_ones():
    with pytest.raises(UnknownWordError, match=r"unknown words 'dragon', 'purple' .* known objects: cat, dog"):
        parse("a dragon on purple")
    assert unknown_words("a dragon and a cat on blue") == ["dragon"]


@pytest.mark.parametrize(
    "prompt",
    ["", "cat", "cats on pink", "a cat and on pink", "a cat and two cats on pink", "a on pink", "with", "with on pink"],
)
def test_known_words_in_a_wrong_order(prompt):
    with pytest.raises(PromptError, match="is not a scene"):
        parse(prompt)


@given(st.text(max_size=60))
def test_any_text_parses_or_says_why(text):
    with contextlib.suppress(PromptError):
        assert parse(text).caption
