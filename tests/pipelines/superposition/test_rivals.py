"""The one prompt that says what several say, and what else a superposition is compared with."""

import pytest
from samplesmith.pipelines.superposition.rivals import joint_prompt, rivals
from samplesmith.samplers.superposition import parse_formula


@pytest.mark.parametrize(
    ("formula", "caption"),
    [
        ('"with a cat" & "with a dog"', "with a cat and a dog"),
        ('"with a cat" & "on blue"', "with a cat on blue"),
        ('"with two cats" & "three stars and two cats on blue"', "three stars and two cats on blue"),
        ('"with a cat" & "with two cats"', None),
        ('"a cat on pink" & "a dog on pink"', None),
        ('"on blue" & "on pink"', None),
        ('"with a cat" | "with a dog"', None),
        ('"with a cat" & ~"with a dog"', None),
    ],
)
def test_joint_captions_of_scenes(formula, caption):
    assert joint_prompt(parse_formula(formula), "emoji-sd3") == caption


def test_other_models_have_and_between_the_prompts():
    assert joint_prompt(parse_formula('"a red fox" & "snow"'), None) == "a red fox and snow"


def test_what_stands_under_a_not_is_no_rival():
    assert rivals(parse_formula('"with a cat" & ~"on blue"'), "emoji-sd3") == {"alone": ["with a cat"]}
    both = rivals(parse_formula('"with a cat" & ~(~"on blue" | "with a dog")'), None)
    assert both == {"mean": ["with a cat", "on blue"]}
    assert rivals(parse_formula('~"on blue"'), None) == {}
