import math

import pytest
from samplesmith.training.schedules import Progress, constant, cosine, linear_decay, warm_up


def test_progress_counts_images():
    progress = Progress(0, 8, 100)
    assert progress.at(5) == Progress(40, 8, 100)
    assert (progress.at(5).step, progress.at(5).share) == (5, 0.4)
    assert progress.at(13).share == 1.0  # the last batch may go beyond the end


def test_schedules_are_their_formulas():
    for step in range(101):
        progress = Progress(8 * step, 8, 800)
        share = step / 100
        assert constant(progress) == 1
        assert warm_up(progress, 80) == min(1, (step + 1) / 10)
        assert linear_decay(progress, 0.4) == pytest.approx(min(1, (1 - share) / 0.4))
        assert linear_decay(progress, 0.4, 0.001) == pytest.approx(min(1, (1 - share) / 0.4 + 0.001))
        assert cosine(progress) == pytest.approx(math.cos(math.pi * share / 2) ** 2)


def test_a_batch_of_another_size_changes_no_schedule():
    """What was seen counts, not how many steps it took."""
    for schedule in (cosine, lambda progress: linear_decay(progress, 0.4)):
        assert schedule(Progress(160, 8, 800)) == schedule(Progress(160, 32, 800))
