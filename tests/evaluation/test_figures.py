import sys

import pytest
from PIL import Image
from samplesmith.evaluation.figures import new_figure, save_figure


def test_a_figure_is_saved_in_new_folders_by_its_ending(tmp_path):
    figure = new_figure(2, 1)
    save_figure(figure, tmp_path / "new/deep/figure.png")
    with Image.open(tmp_path / "new/deep/figure.png") as image:
        assert image.size == (300, 150)
    with pytest.raises(ValueError, match="Format 'odd' is not supported"):
        save_figure(figure, tmp_path / "figure.odd")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"a plot needs matplotlib: pip install 'samplesmith\[eval\]'"):
        new_figure(2, 1)
