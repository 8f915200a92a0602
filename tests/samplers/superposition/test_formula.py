"""Formulas as Python builds them and as texts say them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.samplers.superposition import And, Not, Or, Prompt, parse_formula

CAT, DOG, BLUE = Prompt("with a cat"), Prompt("with a dog"), Prompt("on blue")


def test_precedence_is_pythons():
    assert Or((And((CAT, DOG)), Not(BLUE))) == CAT & DOG | ~BLUE
    assert str((CAT & DOG) | ~BLUE) == '"with a cat" & "with a dog" | ~"on blue"'
    assert str(CAT & (DOG | ~BLUE)) == '"with a cat" & ("with a dog" | ~"on blue")'
    assert str(~(CAT & DOG)) == '~("with a cat" & "with a dog")'


FORMULAS = st.recursive(
    st.builds(Prompt, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.builds(Not, inner), st.builds(lambda a, b: a & b, inner, inner), st.builds(lambda a, b: a | b, inner, inner)
    ),
    max_leaves=8,
)


@given(FORMULAS)
@settings(max_examples=30, deadline=None)
def test_a_formula_is_read_back_from_its_text(formula):
    assert parse_formula(str(formula)) == formula


def test_texts():
    assert parse_formula("'a \"b\"' | ~~'it\\'s'") == Prompt('a "b"') | ~~Prompt("it's")
    assert ((CAT & DOG) | CAT).prompts() == ["with a cat", "with a dog"]
    assert not (CAT & DOG).needs_reference
    assert (CAT & (DOG | ~BLUE)).needs_reference


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lacks a prompt in quotes, at its end"),
        ('"a" &', "lacks a prompt in quotes, at its end"),
        ('("a" | "b"', "lacks a closing bracket, at its end"),
        ('"a" "b"', "lacks a & or | before this, at '\"b\"'"),
        ("a cat", "lacks a prompt in quotes, one of & | ~, or a bracket, at 'a cat'"),
    ],
)
def test_what_is_no_formula_is_told_where(text, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parse_formula(text)


def test_a_text_among_formulas_is_told():
    with pytest.raises(ValueError, match=r"write Prompt\('a dog'\)"):
        CAT & "a dog"
