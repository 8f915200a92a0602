"""The grammar of names with settings: what is written is read back, and what is wrong is one sentence."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from samplesmith.named_settings import DEEPEST, check_settings, parse, parse_settings, resolve, write

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3))
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
names = st.text(min_size=1).filter(lambda name: name == name.strip() and ":" not in name and name.isprintable())


def same(one, other):
    """Equal, and of the same types: 1 is not 1.0 nor true."""
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@limits(deadline=None)
@given(names, st.dictionaries(keys, values, max_size=4))
@example("random", {"a": "none", "b": "1e3", "c": "", "d": " x ", "e": 'say "so", [it]', "f": "http://h:8000/v1?a=b"})
@example("a", {"x": [1.0, 1, True, "true", None, [], {}, [[-0.0]]]})
def test_what_is_written_is_read_back(name, settings):
    found, read = parse(write(name, settings))
    assert found == name
    assert same(read, settings)


@limits(deadline=None)
@given(st.text())
@example("0\r0:0")
def test_any_text_is_read_or_refused_in_one_sentence(text):
    said = ""
    try:
        name, settings = parse(text)
        assert parse(write(name, settings)) == (name, settings)
    except ValueError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("halving", {}),
        ("halving:", {}),
        ("halving:rungs=[4,12],keep=0.25", {"rungs": [4, 12], "keep": 0.25}),
        ('halving:correlations={"4":0.2, 8: .9}', {"correlations": {"4": 0.2, "8": 0.9}}),
        ("flow-sde:diffusion=square,norm=3", {"diffusion": "square", "norm": 3}),
        (" a : x = 1 , y = two words , z = NONE ", {"x": 1, "y": "two words", "z": None}),
        ("a:x=True,y=false,z=1e-3,w=-5", {"x": True, "y": False, "z": 0.001, "w": -5}),
        ("a:url=http://127.0.0.1:8000/v1", {"url": "http://127.0.0.1:8000/v1"}),
        ("a:x=[],y={},z=[[1],[a,b]]", {"x": [], "y": {}, "z": [[1], ["a", "b"]]}),
    ],
)
def test_what_is_read(text, settings):
    assert same(parse(text)[1], settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no name; write name:key=value"),
        (":a=1", "has no name"),
        ("a:b", "the settings of a, 'b', cannot be read: write settings as key=value, with commas between them"),
        ("a:1=b", "write settings as key=value"),
        ("a:b=", "a value is missing"),
        ("a:b=1,,c=2", "write settings as key=value"),
        ("a:b=1,b=2", "b is given twice"),
        ("a:b=[1,2", "a comma or ] was expected"),
        ("a:b=[1],2]", "write settings as key=value"),
        ("a:b=[1]2", "a comma or the end was expected behind b"),
        ("a:b={1}", "write a map as {key:value,...}"),
        ('a:b="x', "a quoted text does not end"),
        ("a:b=1e999", "a number is too large"),
        ("a:b=" + "9" * 5000, "a number is too large"),
        ("a:b=" + "[" * 10_000, f"lists stand in each other more than {DEEPEST} times"),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=r"^[^\n]{1,250}$") as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a:b", {}, "'a:b' is no name"),
        ("", {}, "'' is no name"),
        ("a", {"b-c": 1}, "'b-c' is no name of a setting"),
        ("a", {"b": float("nan")}, "b is nan; give a number, true"),
        ("a", {"b": object}, "b is <class 'object'>; give"),
        ("a", {"b": {1: 2}}, "whose keys are no texts"),
    ],
)
def test_what_cannot_be_written(name, settings, message):
    with pytest.raises(ValueError, match=message):
        write(name, settings)


def make(
    source,
    count: int = 1,
    share: float | None = None,
    places: int | Sequence[int] = (),
    known: Mapping[str, float] | None = None,
    look: Literal["dots", "line"] = "dots",
    on: bool = False,
    name: str = "",
):
    return (source, count, share)


def test_a_thing_of_a_registry():
    maker, settings = resolve("thing:count=2,share=1,places=[1,2],look=line", {"thing": make}, "thing", ["source"])
    assert maker is make
    assert settings == parse_settings("count=2,share=1,places=[1,2],look=line")
    assert maker("pipe", **settings) == ("pipe", 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thin", "unknown thing 'thin'; known: thing, other"),
        ("thing:size=1", "thing has no setting 'size'; known: count, share, places, known, look, on, name"),
        ("thing:source=1", "thing has no setting 'source'"),
        ("other:a=1", "other has no setting 'a'; known: none"),
        ("thing:count=1.5", "thing has count=1.5; give a whole number"),
        ("thing:count=true", "thing has count=true; give a whole number"),
        ("thing:share=wide", "thing has share=wide; give a number or none"),
        ("thing:places=x", "thing has places=x; give a whole number or a list such as [4,12]"),
        ("thing:known=[1]", "thing has known=[1]; give a map such as {4:0.2} or none"),
        ("thing:look=bars", "thing has look=bars; give dots or line"),
        ("thing:on=1", "thing has on=1; give true or false"),
        ("thing:name=1", "thing has name=1; give a text"),
    ],
)
def test_what_a_registry_refuses(text, message):
    registry = {"thing": make, "other": lambda **rest: None}
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        resolve(text, registry, "thing", ["source"])
    assert message in str(error.value)


def test_the_types_of_a_class_are_those_of_its_constructor():
    class Thing:
        def __init__(self, count: int = 1):
            self.count = count

    check_settings("thing", {"count": 3}, Thing)
    with pytest.raises(ValueError, match="give a whole number"):
        check_settings("thing", {"count": "x"}, Thing)
