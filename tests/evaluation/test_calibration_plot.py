import numpy as np
import pytest
from PIL import Image
from samplesmith.evaluation.calibration_plot import plot_calibration
from samplesmith.pipelines.search.calibration import Calibration, Preview, StepCount

STEPS = (StepCount(4, 8, (0.1, 0.2, 0.3), (0.0, 0.5, 0.5)), StepCount(8, 16, (0.2, 0.3, 0.4), (0.5, 0.5, 1.0)))
PREVIEWS = tuple(Preview(8, step, step / 8, 0.3, 0.5) for step in range(1, 9))


@pytest.mark.parametrize(("judge", "previews", "panels"), [("judge", PREVIEWS, 3), ("judge", (), 2), (None, (), 1)])
def test_a_panel_for_each_thing_that_was_measured(tmp_path, judge, previews, panels):
    calibration = Calibration("Pipe", "Euler", 3.0, "guide", judge, 6, STEPS, previews)
    plot_calibration(calibration, tmp_path / "deep/c.png")
    with Image.open(tmp_path / "deep/c.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(4.6 * panels / 4, rel=0.01)
    assert (pixels < 128).any(2).mean() > 0.005
