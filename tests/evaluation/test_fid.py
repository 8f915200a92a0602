"""Distances of image sets: closed forms first, then what users hand in."""

import numpy as np
import pytest
import torch
from feature_sets import in_processes, normal, pixels, uniform
from PIL import Image
from samplesmith.evaluation import compare, fid
from samplesmith.evaluation.features import feature_statistics, gathered_features
from samplesmith.evaluation.fid import compare_features


def test_kernel_distance_is_unbiased():
    """Zero in the mean for one distribution, and the squared MMD of known moments for a shift in one dimension."""
    same = [
        compare_features(normal(100, 4, seed=2 * k), normal(100, 4, seed=2 * k + 1), kid_subsets=8) for k in range(20)
    ]
    means = np.array([one.kid_mean for one in same])
    assert abs(means.mean()) < 3 * means.std() / 20**0.5
    assert means.min() < 0 < means.max()
    # k(x, y) = (xy + 1)^3 sees the first three moments: MMD^2 = sum of binomial(3, i) (E x^i - E y^i)^2.
    shift = 0.7
    moments = np.array([shift, shift**2, shift**3 + 3 * shift])
    expected = float((np.array([3, 3, 1]) * moments**2).sum())
    shifted = compare_features(normal(2000, 1), normal(2000, 1, seed=1) + shift, kid_subsets=30, kid_subset_size=300)
    assert shifted.kid_mean == pytest.approx(expected, rel=0.2)


def test_identical_and_disjoint_sets():
    features = normal(200, 6)
    same = compare_features(features, features)
    assert (same.precision, same.recall) == (1, 1)
    assert same.fid == pytest.approx(0, abs=1e-8)
    apart = compare_features(features, features + 1000)
    assert (apart.precision, apart.recall) == (0, 0)
    assert apart.fid == pytest.approx(6 * 1000**2, rel=1e-3)


def test_precision_and_recall_are_not_exchanged():
    """A generator that makes one of two modes is precise and recalls half."""
    real = torch.cat([normal(200, 4), normal(200, 4, seed=1) + 100])
    found = compare_features(real, normal(400, 4, seed=2))
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.05)


def test_the_draws_of_the_kernel_distance_follow_the_seed():
    real, generated = normal(80, 3), normal(90, 3, seed=1)
    first, again, other = (compare_features(real, generated, seed=seed, kid_subsets=3) for seed in (0, 0, 1))
    assert first == again
    assert first.kid_mean != other.kid_mean


def share(rank):
    """Uneven shares, and one process has no image."""
    real, generated = uniform(40, 1, 2, 2), uniform(40, 1, 2, 2, seed=1) ** 2
    shares = [slice(0, 25), slice(25, 40), slice(40, 40)]
    mine = [list(images[shares[rank]].split(4)) for images in (real, generated)]
    return fid(*mine, pixels), compare(*mine, pixels)


def test_processes_share_the_work_and_get_the_whole():
    real, generated = uniform(40, 1, 2, 2), uniform(40, 1, 2, 2, seed=1) ** 2
    alone, whole = fid(real, generated, pixels), compare(real, generated, pixels)
    for distance, comparison in in_processes(3, share):
        assert distance == pytest.approx(alone, rel=1e-10)
        assert vars(comparison) == pytest.approx(vars(whole), rel=1e-6)


def dealt(rank):
    real, generated = uniform(40, 1, 2, 2), uniform(31, 1, 2, 2, seed=1) ** 2
    order = torch.arange(31)[rank::2].flip(0)
    first = gathered_features(real[rank::2], pixels, numbers=range(rank, 40, 2))
    second = gathered_features(generated[order], pixels, name="made", numbers=order.tolist())
    return vars(compare_features(first, second, seed=3))


def test_two_processes_measure_what_one_does():
    """Kernel distance and errors draw and group images by their order: the numbers of the images tell it."""
    whole = compare(uniform(40, 1, 2, 2), uniform(31, 1, 2, 2, seed=1) ** 2, pixels, seed=3)
    for found in in_processes(2, dealt):
        assert found == pytest.approx(vars(whole), abs=1e-6)


def test_every_form_of_the_same_images_is_the_same_set(tmp_path):
    real = (uniform(20, 6, 5, 3, seed=1) * 255).round().byte()
    generated = (uniform(20, 6, 5, 3) ** 2 * 255).round().byte()
    for k, image in enumerate(generated):
        folder = tmp_path / f"class{k % 2}"  # subfolders count
        folder.mkdir(exist_ok=True)
        Image.fromarray(image.numpy()).save(folder / f"{k}.png")
    tensor = generated.movedim(-1, 1)
    forms = [
        tmp_path,
        str(tmp_path),
        tensor,
        tensor.float() / 255,
        generated.numpy(),
        tensor.numpy(),
        tensor.split(3),
        (batch.numpy() for batch in generated.split(7)),
        [(batch, torch.zeros(len(batch))) for batch in tensor.split(6)],
        [Image.fromarray(image.numpy()) for image in generated],
        feature_statistics(tensor, pixels),
    ]
    distances = [fid(real.numpy(), form, pixels, batch_size=8) for form in forms]
    assert distances == pytest.approx([distances[0]] * len(forms), rel=1e-5)
    assert distances[0] > 1


GOOD = uniform(8, 3, 4, 4)


@pytest.mark.parametrize(
    ("message", "generated"),
    [
        ("no folder nowhere", "nowhere"),
        ("8 real and 1 generated images; 3 neighbours need at least 4 of each", GOOD[:1]),
        ("8 real and 0 generated images", []),
        ("some are 4 x 4 RGB, some 5 x 4 RGB", [GOOD, uniform(8, 3, 4, 5)]),
    ],
)
def test_bad_images(message, generated):
    with pytest.raises(ValueError, match=message):
        compare(GOOD, generated, pixels)


def test_one_image_has_no_spread(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="there are 1 generated images; the distance needs at least 2 of each set"):
        fid(GOOD, tmp_path, pixels)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("kid_subset_size is 9; give a size from 2 to 8", {"kid_subset_size": 9}),
        ("8 neighbours need at least 9", {"neighbours": 8}),
        ("kid_subsets 0; give at least 1", {"kid_subsets": 0}),
        ("batch_size is 0", {"batch_size": 0}),
    ],
)
def test_bad_options(message, options):
    with pytest.raises(ValueError, match=message):
        compare(GOOD, GOOD, pixels, **options)


def test_unlike_dimensions_are_named():
    with pytest.raises(ValueError, match="48 and 3 dimensions"):
        fid(feature_statistics(GOOD, pixels), GOOD, lambda images: images.mean((2, 3)))
