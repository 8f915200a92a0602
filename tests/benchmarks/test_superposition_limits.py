"""The measure of "what limits AND": draws of the truth are near it, others are not."""

import pytest
import superposition_limits as benchmark
import torch


def test_the_truth_is_where_both_bars_are():
    shares = benchmark.truth(finer=4)
    assert float(shares.sum()) == pytest.approx(1)
    row, column = divmod(int(shares.argmax()), benchmark.BINS)
    width = 2 * benchmark.EDGE / benchmark.BINS
    peak = [place * width - benchmark.EDGE + width / 2 for place in (row, column)]
    assert peak == pytest.approx([-0.7, 0.7], abs=width)


def test_distances():
    shares = benchmark.truth(finer=4)
    assert max(benchmark.floor(shares)) < 0.1
    draw = torch.Generator().manual_seed(0)
    assert benchmark.distance(benchmark.BARS[0].draw(4000, draw), shares) > 0.4
    assert benchmark.distance(torch.full((10, 2), 9.0), shares) == pytest.approx(1)
