import torch
from samplesmith.training.distillation import collapse


def test_samples_that_are_alike_raise_an_alarm():
    samples = torch.randn(200, 3, 4, generator=torch.Generator().manual_seed(0))
    reference = float(collapse.spread(samples))
    assert abs(reference - 1) < 0.05
    assert collapse.spread_alarm(0.8 * samples, reference) is None
    assert "collapses" in collapse.spread_alarm(samples[:1].expand(200, 3, 4) + 0.1 * samples, reference)


def test_lost_classes_are_named():
    assert collapse.lost_classes({"Bag": 90, "Coat": 110, "Shirt": 100}) is None
    assert "taken for Coat:" in collapse.lost_classes({"Bag": 180, "Coat": 20, "Shirt": 100})


def test_a_fake_score_that_lags_is_told():
    assert collapse.lag_alarm(0.15, 0.1) is None
    assert "0.3 after 0.1" in collapse.lag_alarm(0.3, 0.1)
