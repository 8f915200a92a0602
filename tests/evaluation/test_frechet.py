"""Fréchet distances: closed forms first, then the libraries' numbers."""

import numpy as np
import pytest
import torch
from feature_sets import covariance, normal
from samplesmith.evaluation.frechet import FeatureStatistics, frechet_distance, frechet_error


def test_diagonal_covariances():
    """Commuting Gaussians: |m1 - m2|^2 + sum of (s1 - s2)^2 over standard deviations."""
    mean, other = normal(2, 12)
    spread, other_spread = normal(2, 12, seed=1).abs()
    expected = (mean - other).square().sum() + (spread - other_spread).square().sum()
    got = frechet_distance(mean, torch.diag(spread**2), other, torch.diag(other_spread**2))
    assert got == pytest.approx(float(expected), rel=1e-12)


def test_two_dimensions_where_the_covariances_do_not_commute():
    """tr (S1 S2)^(1/2) of 2 x 2 matrices is (tr S1 S2 + 2 (det S1 S2)^(1/2))^(1/2)."""
    first, second = covariance(2, seed=2), covariance(2, seed=3)
    assert not torch.allclose(first @ second, second @ first)
    shared = ((first @ second).trace() + 2 * torch.linalg.det(first @ second).sqrt()).sqrt()
    expected = first.trace() + second.trace() - 2 * shared
    assert frechet_distance(torch.zeros(2), first, torch.zeros(2), second) == pytest.approx(float(expected), rel=1e-12)


def test_a_map_of_known_transport():
    """x -> A x with A symmetric and positive is the optimal transport, so the distance is E |x - A x|^2."""
    first, map_ = covariance(8, seed=4), covariance(8, seed=5) + torch.eye(8)
    gap = torch.eye(8) - map_
    expected = (gap @ first @ gap).trace()
    got = frechet_distance(torch.zeros(8), first, torch.zeros(8), map_ @ first @ map_)
    assert got == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_identical_is_zero_and_order_does_not_matter_at_any_rank(rank):
    first, second = covariance(40, rank, seed=6), covariance(40, 7, seed=7)
    mean, other = normal(2, 40)
    assert frechet_distance(mean, first, mean, first) == pytest.approx(0, abs=1e-8 * float(first.trace()))
    forth = frechet_distance(mean, first, other, second)
    assert forth == pytest.approx(frechet_distance(other, second, mean, first), rel=1e-6)
    assert forth > 1


def test_covariances_without_a_common_direction():
    """Disjoint ranges: nothing is shared, so the distance is the sum of the traces; a point has no extent."""
    first, second = torch.zeros(6, 6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)
    first[:2, :2], second[2:5, 2:5] = covariance(2), covariance(3)
    zero = torch.zeros(6)
    assert frechet_distance(zero, first, zero, second) == pytest.approx(float(first.trace() + second.trace()))
    assert frechet_distance(zero, torch.zeros(6, 6), zero, second) == pytest.approx(float(second.trace()))


def test_statistics_do_not_depend_on_the_batches_and_keep_digits_under_an_offset():
    features = normal(500, 16) @ normal(16, 16, seed=1) + 1e6
    sizes = [sum_of(features.split(size)) for size in (1, 7, 64)]
    exact = features - 1e6
    for one in sizes:
        assert one.count == 500
        torch.testing.assert_close(one.mean - 1e6, exact.mean(0), rtol=0, atol=1e-8)
        torch.testing.assert_close(one.covariance, torch.cov(exact.T), rtol=1e-8, atol=1e-8)
    plain = [sum_of(exact.split(size)) for size in (1, 7, 64)]
    for one in plain:
        torch.testing.assert_close(one.mean, plain[0].mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.covariance, plain[0].covariance, rtol=0, atol=1e-10)


def test_halves_merge_in_any_order_and_an_empty_part_changes_nothing():
    features = normal(90, 5)
    first, second = FeatureStatistics.of(features[:30]), FeatureStatistics.of(features[30:])
    empty = FeatureStatistics.of(torch.zeros(0, 0))
    for merged in (first + second, second + first, empty + first + empty + second):
        assert merged.count == 90
        torch.testing.assert_close(merged.covariance, torch.cov(features.T))
    with pytest.raises(ValueError, match="at least 2 images"):
        _ = FeatureStatistics.of(features[:1]).covariance


def sum_of(parts):
    total = FeatureStatistics.of(parts[0])
    for part in parts[1:]:
        total += FeatureStatistics.of(part)
    return total


def test_the_error_is_the_spread_over_fresh_sets():
    real = FeatureStatistics.of(normal(5000, 6))
    sets = [1.2 * normal(400, 6, seed=10 + k) + 0.3 for k in range(60)]
    distances = [frechet_distance(real.mean, real.covariance, one.mean(0), torch.cov(one.T)) for one in sets]
    errors = [frechet_error(real, one) for one in sets]
    assert np.mean(errors) == pytest.approx(np.std(distances), rel=0.3)


@pytest.mark.parametrize("order", ["going round", "one after another"])
def test_the_error_does_not_depend_on_the_order_of_the_classes(order):
    """Leaving out a whole class in each part is no error of sampling; equal classes make it smaller than we say."""
    classes = torch.arange(1000) % 10 if order == "going round" else torch.arange(1000) // 100
    sets = [normal(1000, 6, seed=10 + k) + 5 * (classes[:, None] == torch.arange(6)) for k in range(40)]
    real = FeatureStatistics.of(torch.cat(sets))
    distances = [frechet_distance(real.mean, real.covariance, one.mean(0), torch.cov(one.T)) for one in sets]
    assert 0.8 < np.mean([frechet_error(real, one) for one in sets]) / np.std(distances) < 4


def test_the_libraries_agree():
    image = pytest.importorskip("torchmetrics.image.fid")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    real, generated = normal(300, 20) @ normal(20, 20, seed=1), normal(250, 20, seed=2) + 0.5
    means, covariances = (real.mean(0), generated.mean(0)), (torch.cov(real.T), torch.cov(generated.T))
    ours = frechet_distance(means[0], covariances[0], means[1], covariances[1])
    theirs = image._compute_fid(means[0], covariances[0], means[1], covariances[1])
    assert ours == pytest.approx(float(theirs), rel=1e-10)
    statistics = [fid_features_to_statistics(one) for one in (real, generated)]
    assert ours == pytest.approx(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"], rel=1e-10)
