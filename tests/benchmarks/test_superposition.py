"""The benchmark of superposition: what it asks for has a truth, and what it reads off its files is right."""

import inspect

import numpy as np
import superposition as benchmark
from samplesmith.pipelines.superposition.judged import Judgement
from samplesmith.samplers import SuperposedScheduler
from samplesmith.samplers.superposition import INTEGRATORS
from samplesmith.scenes import holds, is_held_out, parse, sample_where
from superposition_cells import DEFAULT_INTEGRATOR, TEMPERATURES, Jobs, condition, draw_pairs
from superposition_integrators import MEASURES, compared

PAIRS = draw_pairs(14, seed=0)
JOBS = Jobs("emoji-sd3", 50, 4)


def cells():
    yield from JOBS.sweep(PAIRS[:2])
    yield from JOBS.sets(PAIRS, 0.1)
    yield from JOBS.weighted(PAIRS, 0.1)
    yield from JOBS.either(PAIRS, 0.1)
    yield from JOBS.classifier(PAIRS)


def test_jobs_are_right_and_files_of_different_ones_differ():
    made = list(cells())
    for cell in made:
        cell.job.check()
    jobs = {cell.name: cell.job for cell in made}
    assert all(jobs[cell.name] == cell.job for cell in made)
    assert len(jobs) == len(made) - 2 * len(PAIRS), "the rivals of NOT and of three are arms of the pair"
    assert {cell.task for cell in made} == {"sweep", "sets", "not", "three", "weighted", "either", "classifier"}


def test_scenes_of_what_is_asked_for_can_be_drawn():
    rng = np.random.default_rng(0)
    for cell in JOBS.sets(PAIRS[:3], 0.1):
        asked = condition(cell.asked)
        assert holds(asked, sample_where(rng, asked))


def test_captions_of_a_pair_exclude_each_other():
    for pair in PAIRS:
        one, other = parse(pair.one.text), parse(pair.other.text)
        assert not holds(one, other)
        assert one.background != other.background
        assert not is_held_out(one)
        assert not is_held_out(other)
    assert {pair.first.text for pair in draw_pairs(4, seed=1)} != {pair.first.text for pair in PAIRS[:4]}


def test_the_temperature_with_most_right_is_chosen_the_larger_of_equal_ones():
    shares = {f"or {one:g}": 0.5 for one in TEMPERATURES} | {"or 0.1": 0.75, "or 0.3": 0.75}
    assert benchmark.chosen_temperature(shares, "or") == 0.3


def test_weights_are_held_against_images_alike_pair_by_pair():
    class Measures:
        def judged(self, cell, images):
            return [Judgement({}, {}, one) for one in images]

    def made(cell):  # one more of four is right by weights, at each pair
        right = cell.pair % 3 + (cell.arm == "by weights")
        return {"images": [True] * right + [False] * (4 - right)}

    found = benchmark._weighted(JOBS.weighted(PAIRS[:6], 0.1), made, Measures())
    assert found["images alike"]["mean"] == 0.25
    assert found["by weights"]["mean"] == 0.5
    assert set(found["weights over alike"].values()) == {0.25}


def test_a_classifier_counts_the_prompt_that_made_the_image():
    def made(cell):  # the first estimator is always right, the second one of the first prompt's images only
        source = int(cell.arm[-1])
        always = cell.job.settings["estimator"] == "rne"
        return {"densities": np.array([[0.0, -1.0], [-1.0, 0.0]])[[source if always else 0] * 3]}

    found = benchmark._classified(JOBS.classifier(PAIRS[:3]), made)
    assert (found["rne"]["mean"], found["ito"]["mean"]) == (1.0, 0.5)


def test_integrators_share_the_files_of_the_default_one():
    cells = list(JOBS.integrators(PAIRS[:2], [25, 50]))
    for cell in cells:
        cell.job.check()
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 2 * 2 * 2
    known = {cell.name: cell.arm for cell in JOBS.sets(PAIRS[:2], 0.1)}
    shared = [(cell.task, cell.arm, known[cell.name]) for cell in cells if cell.name in known]
    assert shared == [("A and B", "ancestral, 50 steps", "and"), ("A", "ancestral, 50 steps", "first alone")] * 2
    assert inspect.signature(SuperposedScheduler).parameters["integrator"].default == DEFAULT_INTEGRATOR


def test_integrators_are_held_against_each_other_pair_by_pair():
    arms = {
        f"{task}: {integrator}, 25 steps": {name: [first + 0.25, 0.5] for name in MEASURES}
        for task in ("A and B", "A")
        for integrator, first in zip(INTEGRATORS, (0.0, 0.25), strict=True)
    }
    found = compared(arms, [25])
    gain = found["ancestral over euler-maruyama"]["A and B, 25 steps"]["right"]["mean"]
    assert abs(gain) == 0.125
    ours, theirs = (arms[f"A: {one}, 25 steps"]["right"] for one in ("ancestral", "euler-maruyama"))
    assert gain == np.mean(ours) - np.mean(theirs)
