from itertools import groupby

import pytest
from samplesmith.samplers.strategies import Threshold
from scripted_search import drive, scripted


def used(nodes):
    return [len(list(group)) for _, group in groupby(nodes, lambda node: len(node.legs))]


def test_a_step_is_left_once_a_candidate_passes_its_calibrated_bar():
    """The median is .3, .5 and .6: .2 and .4 at the first, .55 at the second, and none at the third in its part."""
    known = {1: (0.1, 0.3, 0.5), 2: (0.3, 0.5, 0.7), 3: (0.4, 0.6, 0.9)}
    rule = Threshold(share=0.5).informed({1: 0.9}, known)
    scores = [0.2, 0.4, 0.55, 0.3, 0.59, 0.4]
    _, nodes = drive(rule, scripted(*scores, 0.1, 0.2, 0.3), steps=4, budget=3 + 6)
    assert used(nodes) == [2, 1, 3, 3], "a fourth, then a third, then a half of what is left: 2, 2 and 3 of 9"
    assert nodes[-1].parent == nodes[4], "the best where none passes"


def test_a_cap():
    known = {1: (1.0, 1.0), 9: (1.0, 1.0)}
    rule = Threshold(cap=2).informed({1: 0.9}, known)
    assert used(drive(rule, lambda node: 0.0, steps=4, budget=20)[1]) == [2, 2, 2, 14]


def test_without_a_calibration_the_bar_is_of_the_scores_that_were_seen():
    """Of .1, .2, .3 and .4 the 80 % quantile is .34: .3 does not pass it, .35 does."""
    rule = Threshold(share=0.8, seen=4, cap=8)
    scores = [0.1, 0.2, 0.3, 0.4, 0.3, 0.35, 0.9, 0.9]
    _, nodes = drive(rule, scripted(*scores), steps=3, budget=30)
    assert used(nodes)[0] == 6


def test_bad_settings():
    with pytest.raises(ValueError, match="share is 1; give more than 0 and less than 1"):
        Threshold(share=1)
    with pytest.raises(ValueError, match="cap is 0; give at least 1"):
        Threshold(cap=0)
