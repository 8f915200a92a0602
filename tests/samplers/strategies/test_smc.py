import math

import numpy as np
import pytest
from samplesmith.samplers.strategies import Smc
from samplesmith.samplers.strategies.particle_weights import log_mean_exp
from samplesmith.samplers.strategies.smc import POTENTIALS, log_potential
from scripted_search import at_random, drive, name, scripted

SCORES = np.asarray([[0.1, 0.5], [0.4, 0.2], [0.3, 0.6]])
"""Of two paths of three steps."""


@pytest.mark.parametrize(
    ("potential", "logs"),
    [
        ("difference", [[0.1, 0.5], [0.3, -0.3], [-0.1, 0.4]]),
        ("max", [[0.1, 0.5], [0.4, 0.5], [-0.2, -0.4]]),
        ("sum", [[0.1, 0.5], [0.5, 0.7], [-0.3, -0.6]]),
    ],
)
def test_potentials_by_hand(potential, logs):
    """The last makes every path's product exp(lambda r_T)."""
    found = [log_potential(POTENTIALS[potential], SCORES[:k], 2.0, last=k == 3) for k in (1, 2, 3)]
    assert np.asarray(found) == pytest.approx(2 * np.asarray(logs))
    assert sum(found) == pytest.approx(2 * SCORES[-1])


def test_particles_go_on_from_their_own_where_weights_are_alike():
    _, nodes = drive(Smc(3), lambda node: 0.5, steps=3, budget=9)
    assert list(map(name, nodes)) == [
        *("100", "101", "102"),
        *("100.1", "101.2", "102.3"),
        *("100.1.1", "101.2.2", "102.3.3"),
    ]


def test_a_heavy_particle_is_copied_with_a_noise_of_its_own():
    """exp(10 r) of 0, 0 and 1: shares 0, 0 and 1, an effective size of 1 below 3 / 2."""
    search, nodes = drive(Smc(3), scripted(0.0, 0.0, 1.0, 0.9, 1.0, 0.8), steps=2, budget=6)
    assert list(map(name, nodes)) == ["100", "101", "102", "102.1", "102.2", "102.3"]
    assert search.best == nodes[4]
    assert search.weights.log == pytest.approx([-1.0, 0.0, -2.0])
    first, second = log_mean_exp(np.asarray([0, 0, 10.0])), log_mean_exp(np.asarray([-1, 0, -2.0]))
    assert search.weights.log_normaliser == pytest.approx(first + second)
    assert search.population == nodes[3:]


def test_the_effective_size_decides():
    """exp(r) of 0, 1 and 2 are worth (1 + e + e^2)^2 / (1 + e^2 + e^4) = 1.958 particles of 3."""
    scores = (0.0, 1.0, 2.0)
    for ess, copied in ((0.65, False), (0.66, True)):
        _, nodes = drive(Smc(3, tilt=1.0, ess=ess), scripted(*scores), steps=2, budget=6)
        assert ([node.seed for node in nodes[3:]] != [100, 101, 102]) == copied


@pytest.mark.parametrize("potential", POTENTIALS)
def test_weights_that_are_carried_are_those_of_the_finished_images(potential):
    """Without resampling nothing is lost: the weight is exp(lambda r_T), whichever the potential."""
    search, nodes = drive(Smc(5, potential, tilt=3.0, resample_at=[]), steps=4, budget=20)
    final = np.asarray([at_random(node) for node in nodes[-5:]])
    assert search.weights.log == pytest.approx(3 * final)
    assert search.weights.log_normaliser == pytest.approx(log_mean_exp(3 * final))


def test_it_resamples_at_the_listed_steps_only():
    scores = [0.0, 1.0] * 4
    _, nodes = drive(Smc(2, ess=0.6, resample_at=[2]), scripted(*scores), steps=4, budget=8)
    assert [node.seed for node in nodes] == [100, 101, 100, 101, 101, 101, 101, 101]


def test_the_budget_tells_the_particles_and_what_is_left_goes_to_the_best():
    search, nodes = drive(Smc(), steps=4, budget=4 * 3 + 2)
    assert len(search.population) == 3
    *_, first, second = nodes
    assert (first.parent, second.parent) == (search.population[at_best(search)].parent,) * 2
    assert [node.noise_key for node in (first, second)] == [4, 5]
    assert len(search.weights.log) == 3, "they take no part in the weights"


def at_best(search):
    return max(range(len(search.population)), key=lambda k: at_random(search.population[k]))


def test_a_failed_particle_has_no_offspring():
    _, nodes = drive(Smc(2, tilt=0.0), scripted(-math.inf, 0.3), steps=2, budget=4)
    assert [node.seed for node in nodes] == [100, 101, 100, 101], "an effective size of 1 is half of 2"
    _, nodes = drive(Smc(2, tilt=1.0, ess=0.6), scripted(-math.inf, 0.3), steps=2, budget=4)
    assert [node.seed for node in nodes] == [100, 101, 101, 101]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"potential": "product"}, "potential is 'product'; give one of difference, max, sum"),
        ({"resampling": "residual"}, "resampling is 'residual'; give one of systematic, multinomial"),
        ({"ess": 0}, "ess is 0; give more than 0 and at most 1"),
        ({"tilt": -1.0}, "tilt is -1.0; give at least 0"),
        ({"particles": 0}, "particles is 0; give at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Smc(**settings)
