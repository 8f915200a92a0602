import sys

import pytest
import torch
from feature_sets import in_processes, pixels, uniform
from samplesmith.evaluation.features import extract_features, feature_statistics, gathered_features
from torch import nn


class BatchNormed(nn.Module):
    """Its features depend on the batch in training mode, and not in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images):
        return self.norm(images).flatten(1)


def test_a_module_is_evaluated_and_given_back_in_its_mode():
    module = BatchNormed()
    images = uniform(30, 1, 4, 4)
    torch.testing.assert_close(extract_features(images, module, 7), extract_features(images, module, 30))
    assert module.training
    assert module.norm.training
    assert module.norm.num_batches_tracked == 0
    torch.testing.assert_close(extract_features(images, module.forward, 7), extract_features(images, module, 30))


def dealt(rank, unlike):
    """Images dealt out in turn, which come in another order: as a model makes them by its prompts."""
    images = uniform(31, 1, 2, 2)
    if unlike == "images" and rank:
        images = uniform(31, 1, 4, 4)
    order = torch.arange(31)[rank::2].flip(0)
    extract = (lambda images: images.mean((2, 3))) if unlike == "features" and rank else pixels
    return gathered_features(images[order], extract, name="made", numbers=order.tolist())


@pytest.mark.parametrize(
    ("unlike", "message"),
    [
        ("images", "the made images differ: some are 2 x 2 grey, some 4 x 4 grey"),
        ("features", "the features of the made images have 1 (torch.float32) and 4 (torch.float32) dimensions"),
    ],
)
def test_processes_that_differ_are_refused_in_each(unlike, message):
    assert all(message in found for found in in_processes(2, dealt, unlike))


def test_processes_gather_rows_in_the_order_of_their_numbers():
    whole = extract_features(uniform(31, 1, 2, 2), pixels)
    for found in in_processes(2, dealt, None):
        assert torch.equal(found, whole)


def uneven(rank):
    """One process has no image, and another only one."""
    images = uniform(9, 1, 2, 2)[[slice(0, 8), slice(8, 8), slice(8, 9)][rank]]
    return gathered_features(list(images.split(3)), pixels), vars(feature_statistics(list(images.split(3)), pixels))


def test_uneven_shares_and_an_empty_one():
    images = uniform(9, 1, 2, 2)
    rows, statistics = extract_features(images, pixels), vars(feature_statistics(images, pixels))
    for found, shared in in_processes(3, uneven):
        assert torch.equal(found, rows)
        assert shared["count"] == 9
        for key in ("mean", "scatter"):
            torch.testing.assert_close(shared[key], statistics[key], rtol=1e-12, atol=1e-12)


def nothing(rank):
    return gathered_features([], pixels), feature_statistics([], pixels).count


def test_no_images_at_all():
    for found, count in [*in_processes(2, nothing), nothing(0)]:
        assert (found.shape, count) == ((0, 0), 0)


def test_one_feature_of_one_image_keeps_its_dimensions():
    image = uniform(1, 1, 1, 1)
    assert gathered_features(image, pixels).shape == (1, 1)
    assert feature_statistics(image, pixels).scatter.shape == (1, 1)


GOOD = uniform(8, 3, 4, 4)


@pytest.mark.parametrize(
    ("message", "features"),
    [
        (r"are \(8, 3, 4, 4\); expected a tensor \(batch, dim\)", lambda images: images),
        ("hold NaN or infinity; are these", lambda images: images.flatten(1) / 0),
        (r"the features failed on real images of shape \(8, 3, 4, 4\)", nn.Conv2d(1, 2, 3)),
    ],
)
@pytest.mark.parametrize("measure", [extract_features, feature_statistics, gathered_features])
def test_bad_features(message, features, measure):
    with pytest.raises(ValueError, match=message):
        measure(GOOD, features, name="real")


def test_without_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    for measure in (feature_statistics, gathered_features):
        with pytest.raises(ValueError, match=r"need torchmetrics: pip install 'samplesmith\[eval\]'"):
            measure(GOOD, pixels)
