import pytest
import torch
from samplesmith.evaluation.fid import compare_features
from samplesmith.evaluation.kernel_distance import kernel_distance


def features(rows, shift=0.0, seed=0):
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_it_is_torch_fidelitys_on_whole_sets():
    real, generated = features(40), features(40, 0.5, 1)
    whole = compare_features(real, generated, kid_subsets=1, kid_subset_size=40)
    assert kernel_distance(real, generated) == pytest.approx(whole.kid_mean, rel=1e-9)


def test_small_sets_of_one_distribution_have_a_mean_of_0():
    found = torch.tensor([kernel_distance(features(4, seed=2 * k), features(6, seed=2 * k + 1)) for k in range(400)])
    assert abs(float(found.mean())) < 3 * float(found.std()) / 20
    assert kernel_distance(features(30), features(30, 1.0, 1)) > 10 * float(found.mean().abs())


def test_too_few_rows_are_one_sentence():
    with pytest.raises(ValueError, match="give at least 2 rows of each"):
        kernel_distance(features(1), features(4))
