"""What a candidate is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.samplers.strategies import Node, Noise, Renoise, Turn


def test_a_path_of_draws_children_and_steps_back():
    draw = Node.draw(7, Turn(99, 0.5), stop=8)
    child = draw.child(Noise(3), stop=14)
    back = child.child(Renoise(4, key=1), stop=10)
    end = back.child()
    assert [(leg.start, leg.stop) for leg in end.legs] == [(0, 8), (8, 14), (4, 10), (10, None)]
    assert (end.parent, back.parent, child.parent, draw.parent) == (back, child, draw, None)
    assert (end.finished, back.finished, end.turns) == (True, False, (Turn(99, 0.5),))
    assert [node.noise_key for node in (draw, child, back, end)] == [0, 3, 3, 3]
    assert [node.is_plain for node in (draw, draw.child(), child, end)] == [True, True, False, False]
    assert draw.whole() == Node.draw(7, Turn(99, 0.5))


def test_equal_paths_are_one_node_and_others_are_not():
    draw = Node.draw(7, stop=8)
    assert draw.id == Node.draw(7, stop=8).id
    others = [
        Node.draw(8, stop=8),
        Node.draw(7, stop=9),
        Node.draw(7),
        Node.draw(7, Turn(1, 0.5), stop=8),
        draw.child(stop=9),
        draw.child(Noise(1), stop=9),
        draw.child(Noise(2), stop=9),
        draw.child(Renoise(4, 1), stop=9),
        draw.child(Renoise(4, 2), stop=9),
    ]
    assert len({node.id for node in [draw, *others]}) == 10


NODES = st.builds(
    lambda seed, turns, stops: _walk(Node.draw(seed, *turns, stop=stops[0]), stops[1:]),
    st.integers(0, 2**62),
    st.lists(st.builds(Turn, st.integers(0, 2**62), st.floats(0, 3)), max_size=3),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)


def _walk(node, lengths):
    for length in lengths:
        moves = [Renoise(node.stop - 1, length)] if length % 3 == 0 else [Noise(length)] if length % 3 == 1 else []
        node = node.child(*moves, stop=node.stop + length)
    return node


@given(NODES)
def test_a_node_is_made_again_from_its_record(node):
    again = Node.from_json(node.seed, json.loads(json.dumps(node.legs_json())))
    assert (again, again.id) == (node, node.id)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Node.draw(1).child(), "a finished node has no steps left"),
        (lambda: Node.draw(1, stop=8).child(stop=8), "makes none"),
        (lambda: Node.draw(1, stop=8).child(Renoise(8, 0)), "stands at step 8 and cannot go back to step 8"),
        (lambda: Node.draw(1, stop=8).child(Renoise(-1, 0)), "makes none; give 0 <= start"),
    ],
)
def test_impossible_children_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
