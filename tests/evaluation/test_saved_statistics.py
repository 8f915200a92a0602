"""Files of mu and sigma, as pytorch-fid writes them, in place of a set of images."""

import numpy as np
import pytest
from feature_sets import pixels, uniform
from samplesmith.evaluation import fid, load_statistics
from samplesmith.evaluation.saved_statistics import is_statistics


@pytest.fixture
def file(tmp_path):
    found = pixels(uniform(50, 1, 2, 2)).numpy()
    np.savez(tmp_path / "real.npz", mu=found.mean(0), sigma=np.cov(found, rowvar=False))
    return tmp_path / "real.npz"


def test_the_distance_is_that_of_the_images(file):
    other = uniform(40, 1, 2, 2, seed=1) ** 2
    expected = fid(uniform(50, 1, 2, 2), other, pixels)
    assert fid(load_statistics(file), other, pixels) == pytest.approx(expected, rel=1e-6)
    assert fid(other, load_statistics(file), pixels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros(2)}, "holds mean; statistics for FID are mu and sigma"),
        ({"mu": np.zeros(2), "sigma": np.zeros(2)}, r"mu \(2,\) and sigma \(2,\); expected"),
        ({"mu": np.zeros(2) * 1j, "sigma": np.zeros((2, 2))}, "real"),
        ({"mu": np.full(2, np.nan), "sigma": np.zeros((2, 2))}, "holds NaN"),
        ({"mu": np.array([{}, {}]), "sigma": np.zeros((2, 2))}, "cannot be read"),
    ],
)
def test_other_files(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_statistics(tmp_path / "x.npz")


def test_no_file_damaged_or_of_other_features(file):
    with pytest.raises(ValueError, match=r"no file none\.npz"):
        load_statistics("none.npz")
    with pytest.raises(ValueError, match="4 and 16 dimensions"):
        fid(load_statistics(file), uniform(40, 1, 4, 4), pixels)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"real\.npz cannot be read"):
        load_statistics(file)


def test_by_its_ending():
    assert is_statistics("real.NPZ")
    assert not is_statistics("real")
