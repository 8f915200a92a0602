"""Distances of image sets: closed forms first, then the libraries' numbers, then what users hand in."""

import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from samplesmith.evaluation import FeatureStatistics, compare, fid, load_statistics
from samplesmith.evaluation.fid import (
    compare_features,
    extract_features,
    feature_statistics,
    frechet_distance,
    frechet_error,
    gathered_features,
)
from samplesmith.evaluation.image_batches import image_batches
from torch import nn


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def covariance(dim, rank=None, seed=0):
    factor = normal(dim, rank or dim, seed=seed)
    return factor @ factor.T


def pixels(images):
    """Features that are the pixels themselves."""
    return images.flatten(1)


class BatchNormed(nn.Module):
    """Its features depend on the batch in training mode, and not in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images):
        return self.norm(images).flatten(1)


# Closed forms


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


# Statistics


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


def _share(rank, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=3)
    real, generated = uniform(40, 1, 2, 2), uniform(40, 1, 2, 2, seed=1) ** 2
    shares = [slice(0, 25), slice(25, 40), slice(40, 40)]  # uneven, and one process has no image
    mine = [list(images[shares[rank]].split(4)) for images in (real, generated)]
    results[rank] = (fid(*mine, pixels), compare(*mine, pixels))
    dist.destroy_process_group()


def test_processes_share_the_work_and_get_the_whole():
    import socket

    real, generated = uniform(40, 1, 2, 2), uniform(40, 1, 2, 2, seed=1) ** 2
    alone, whole = fid(real, generated, pixels), compare(real, generated, pixels)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_share, (port, results), nprocs=3, start_method="fork")
        results = dict(results)
    for distance, comparison in results.values():
        assert distance == pytest.approx(alone, rel=1e-10)
        assert vars(comparison) == pytest.approx(vars(whole), rel=1e-6)


def _dealt(rank, port, results, unlike):
    """Images dealt out in turn, which come in another order: as a model makes them by its prompts."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    real, generated = uniform(40, 1, 2, 2), uniform(31, 1, 2, 2, seed=1) ** 2
    if unlike and rank:
        generated = uniform(31, 1, 4, 4)
    order = torch.arange(31)[rank::2].flip(0)
    try:
        first = gathered_features(real[rank::2], pixels, numbers=range(rank, 40, 2))
        second = gathered_features(generated[order], pixels, name="made", numbers=order.tolist())
        results[rank] = vars(compare_features(first, second, seed=3))
    except ValueError as error:
        results[rank] = str(error)
    dist.destroy_process_group()


@pytest.mark.parametrize("unlike", [False, True])
def test_two_processes_measure_what_one_does(unlike):
    """Kernel distance and errors draw and group images by their order: the numbers of the images tell it."""
    import socket

    whole = compare(uniform(40, 1, 2, 2), uniform(31, 1, 2, 2, seed=1) ** 2, pixels, seed=3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_dealt, (port, results, unlike), nprocs=2, start_method="fork")
        results = dict(results)
    for found in results.values():
        if unlike:
            assert "the made images differ: some are 2 x 2 grey, some 4 x 4 grey" in found
        else:
            assert found == pytest.approx(vars(whole), abs=1e-6)
    assert len(results) == 2


# The other measures


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


def test_the_draws_of_the_kernel_distance_follow_the_seed():
    real, generated = normal(80, 3), normal(90, 3, seed=1)
    first, again, other = (compare_features(real, generated, seed=seed, kid_subsets=3) for seed in (0, 0, 1))
    assert first == again
    assert first.kid_mean != other.kid_mean


# Parity


def test_the_libraries_agree():
    image = pytest.importorskip("torchmetrics.image.fid")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    real, generated = normal(300, 20) @ normal(20, 20, seed=1), normal(250, 20, seed=2) + 0.5
    means, covariances = (real.mean(0), generated.mean(0)), (torch.cov(real.T), torch.cov(generated.T))
    ours = compare_features(real, generated).fid
    theirs = image._compute_fid(means[0], covariances[0], means[1], covariances[1])
    assert ours == pytest.approx(float(theirs), rel=1e-10)
    statistics = [fid_features_to_statistics(one) for one in (real, generated)]
    assert ours == pytest.approx(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"], rel=1e-10)


# What users hand in


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


def test_grey_images_have_one_channel(tmp_path):
    stack = torch.arange(3 * 28 * 28).reshape(3, 28, 28).remainder(256).byte()
    for k, image in enumerate(stack):
        Image.fromarray(image.numpy()).save(tmp_path / f"{k}.png")
    (from_stack,), (from_folder,) = image_batches(stack), image_batches(tmp_path)
    assert from_stack.shape == (3, 1, 28, 28)
    torch.testing.assert_close(from_stack, from_folder)
    torch.testing.assert_close(from_stack[:, 0] * 255, stack.float())


def test_pictures_are_taken_as_a_viewer_shows_them(tmp_path):
    """Folders that look alike are alike, whatever their files' form."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    colours[:, 0] = 255
    for k, image in enumerate(colours):
        plain, turned = Image.fromarray(image), Image.fromarray(np.rot90(image))
        sheer = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        sheer[0] = [1, 2, 3, 0]  # hidden colours
        exif = Image.Exif()
        exif[0x0112] = 6
        for folder in ("plain", "sheer", "turned"):
            (tmp_path / folder).mkdir(exist_ok=True)
        plain.save(tmp_path / f"plain/{k}.png")
        turned.save(tmp_path / f"turned/{k}.png", exif=exif)
        Image.fromarray(sheer).save(tmp_path / f"sheer/{k}.png")
    (expected,) = image_batches(tmp_path / "plain")
    for folder in ("sheer", "turned"):
        (found,) = image_batches(tmp_path / folder)
        assert torch.equal(found, expected)
    Image.fromarray(colours[0, ..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (deep,) = image_batches([tmp_path / "deep.png"])
    assert torch.equal(deep[0, 0] * 255, torch.from_numpy(colours[0, ..., 0]).float())


def test_a_module_is_evaluated_and_given_back_in_its_mode():
    module = BatchNormed()
    images = uniform(30, 1, 4, 4)
    torch.testing.assert_close(extract_features(images, module, 7), extract_features(images, module, 30))
    assert module.training
    assert module.norm.training
    assert module.norm.num_batches_tracked == 0
    torch.testing.assert_close(extract_features(images, module.forward, 7), extract_features(images, module, 30))


GOOD = uniform(8, 3, 4, 4)


@pytest.mark.parametrize(
    ("message", "generated"),
    [
        ("no folder nowhere", "nowhere"),
        ("8 real and 1 generated images; 3 neighbours need at least 4 of each", GOOD[:1]),
        ("8 real and 0 generated images", []),
        ("1 of a batch of 8 generated images hold NaN", GOOD.where(torch.arange(8).view(8, 1, 1, 1) != 3, torch.nan)),
        ("the generated images span -1 to", 2 * GOOD.where(GOOD > 0.2, 0) - 1),
        ("the generated images have dtype torch.int64", (255 * GOOD).long()),
        (r"have shape \(8, 4, 4, 4\)", uniform(8, 4, 4, 4)),
        (r"have shape \(3, 4, 4\)", [GOOD[0]]),
        ("some are 4 x 4 RGB, some 5 x 4 RGB", [GOOD, uniform(8, 3, 4, 5)]),
        ("some are 4 x 4 RGB, some 4 x 4 grey", [GOOD, GOOD[:, :1]]),
        ("the generated images are a int", 3),
        ("come as dict", [{}]),
    ],
)
def test_bad_images(message, generated):
    with pytest.raises(ValueError, match=message):
        compare(GOOD, generated, pixels)


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        fid(GOOD, tmp_path, pixels)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="there are 1 generated images; the distance needs at least 2 of each set"):
        fid(GOOD, tmp_path, pixels)
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"a.png is 4 x 4 RGB but .*b.png 6 x 4 RGB"):
        fid(GOOD, tmp_path, pixels)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"b.png cannot be read"):
        fid(GOOD, tmp_path, pixels)


@pytest.mark.parametrize(
    ("message", "features"),
    [
        (r"are \(8, 3, 4, 4\); expected a tensor \(batch, dim\)", lambda images: images),
        ("hold NaN or infinity; are these", lambda images: images.flatten(1) / 0),
        (r"the features failed on real images of shape \(8, 3, 4, 4\)", nn.Conv2d(1, 2, 3)),
    ],
)
def test_bad_features(message, features):
    with pytest.raises(ValueError, match=message):
        fid(GOOD, GOOD, features)


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


class TestSavedStatistics:
    """Files of mu and sigma, as pytorch-fid writes them, in place of a set of images."""

    @pytest.fixture
    def file(self, tmp_path):
        found = pixels(uniform(50, 1, 2, 2)).numpy()
        np.savez(tmp_path / "real.npz", mu=found.mean(0), sigma=np.cov(found, rowvar=False))
        return tmp_path / "real.npz"

    def test_the_distance_is_that_of_the_images(self, file):
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
    def test_other_files(self, tmp_path, arrays, message):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(ValueError, match=message):
            load_statistics(tmp_path / "x.npz")

    def test_no_file_damaged_or_of_other_features(self, file):
        with pytest.raises(ValueError, match=r"no file none\.npz"):
            load_statistics("none.npz")
        with pytest.raises(ValueError, match="4 and 16 dimensions"):
            fid(load_statistics(file), uniform(40, 1, 4, 4), pixels)
        file.write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=r"real\.npz cannot be read"):
            load_statistics(file)
