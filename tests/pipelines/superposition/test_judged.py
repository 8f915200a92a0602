"""What a judge says of drawn scenes, whose truth is known."""

import numpy as np
import pytest
from PIL import Image
from samplesmith.pipelines.superposition.judged import asked_for, judgements
from samplesmith.samplers.superposition import Prompt
from samplesmith.scenes import draw, parse

CAT, DOG, BLUE = map(Prompt, ("with a cat", "with a dog", "on blue"))


def drawn(caption):
    return Image.fromarray(draw(np.random.default_rng(3), parse(caption)).image)


@pytest.mark.parametrize(
    ("asked", "caption", "right"),
    [
        (CAT & DOG, "a cat and a dog on pink", True),
        (CAT & DOG, "a cat and a car on pink", False),
        (CAT | DOG, "a cat and a car on pink", True),
        (CAT | DOG, "a boat on pink", False),
        (CAT & ~BLUE, "a cat on pink", True),
        (CAT & ~BLUE, "a cat on blue", False),
        (~(CAT | BLUE), "a boat on pink", True),
    ],
)
def test_a_formula_holds_for_what_is_drawn(judge, asked, caption, right):
    (said,) = judgements([drawn(caption)], asked, judge)
    assert said.right is right, str(said)
    assert set(said.scores) == set(asked.prompts())
    assert str(said).startswith("right: " if right else "wrong: ")


def test_what_a_superposition_asks_for():
    assert asked_for(["a", "b"], "and-paper") == Prompt("a") & Prompt("b")
    assert asked_for(["a", "b"], [0.7, 0.3]) == Prompt("a") & Prompt("b")
    assert asked_for(["a", "b"], "or") == Prompt("a") | Prompt("b")
    assert asked_for(["a", "b"], '"a" & ~"b"') == Prompt("a") & ~Prompt("b")
    assert asked_for(["a", "a"], "and") == Prompt("a")
