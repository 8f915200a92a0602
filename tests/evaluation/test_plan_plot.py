import numpy as np
import pytest
from PIL import Image
from samplesmith.evaluation.plan_plot import GUIDED, ORACLE, plot_plan
from samplesmith.evaluation.planning import plan_budget


@pytest.mark.parametrize("guide", ["guide", "judge"])
def test_both_curves_are_drawn(tmp_path, guide):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(20):
        for _ in range(8):
            right = float(rng.random() < 0.4)
            rows.append({"prompt_index": i, "nfe": 10, "scores": {"guide": right + rng.random(), "judge": right}})
    plot_plan(plan_budget(rows, guide, "judge", repeats=20), tmp_path / "deep/plan.png")
    with Image.open(tmp_path / "deep/plan.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for color in (GUIDED, ORACLE):
        wanted = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(2) < 8).sum() > 50, color
