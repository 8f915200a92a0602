import copy
import pickle

import pytest
import torch
from feature_sets import in_processes, normal
from samplesmith.evaluation.frechet import FeatureStatistics
from samplesmith.evaluation.metrics import FeatureMoments, FeatureRows
from torchmetrics import MetricCollection


def moments(features, size):
    metric = FeatureMoments(features.shape[1])
    for batch in features.split(size):
        metric.update(batch)
    return metric


@pytest.mark.parametrize("size", [1, 7, 64])
def test_moments_do_not_depend_on_batches_and_keep_digits_under_an_offset(size):
    features = normal(500, 16) @ normal(16, 16, seed=1) + 1e6
    found, exact = moments(features, size).compute(), features - 1e6
    assert found["count"] == 500
    torch.testing.assert_close(found["mean"] - 1e6, exact.mean(0), rtol=0, atol=1e-8)
    torch.testing.assert_close(found["scatter"] / 499, torch.cov(exact.T), rtol=1e-8, atol=1e-8)


def share(rank):
    """Of three processes, one of which has no row; what they have alone is theirs again after."""
    rows = normal(30, 4) + 1e6
    metric = moments(rows[[slice(0, 20), slice(20, 30), slice(30, 30)][rank]], 8)
    together = metric.compute()
    again = metric.compute()
    metric.update(rows[:1])
    return together, again, int(metric.count)


def test_processes_compute_the_whole_and_keep_their_own():
    whole = moments(normal(30, 4) + 1e6, 30).compute()
    for (together, again, count), own in zip(in_processes(3, share), (21, 11, 1), strict=True):
        for key, value in whole.items():
            torch.testing.assert_close(together[key], value, rtol=1e-12, atol=1e-8)
            assert torch.equal(together[key], again[key])
        assert count == own


def test_it_is_a_metric_as_others():
    features = normal(40, 3)
    metric = moments(features, 10)
    expected = FeatureStatistics.of(features)
    for one in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(one.compute()["scatter"], expected.scatter)
    assert torch.equal(metric(features[:5])["mean"], FeatureStatistics.of(features[:5]).mean)  # of the batch
    assert metric.compute()["count"] == 45
    metric.reset()
    both = MetricCollection({"moments": metric, "again": FeatureMoments(3)}, compute_groups=False)
    both.update(features)
    torch.testing.assert_close(both["moments"].compute(), both["again"].compute())


def test_rows_come_in_the_order_of_their_numbers():
    features = normal(7, 2)
    metric = FeatureRows()
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    metric.update(features[order[:4]], order[:4].tolist())
    metric.update(features[order[4:]], order[4:].tolist())
    assert torch.equal(metric.compute(), features)
    plain = FeatureRows()
    plain.update(features[:3])
    plain.update(features[3:])
    assert torch.equal(plain.compute(), features)
    with pytest.raises(ValueError, match="there are 7 rows of features but 2 numbers"):
        plain.update(features, [0, 1])
