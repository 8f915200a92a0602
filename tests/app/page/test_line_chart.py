"""Charts as SVG."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from samplesmith.app.page.line_chart import Series, line_chart


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(0, 1.0), (1, 1.0)], [(0, 0.1), (1, float("-inf")), (2, 1e-9)]])
def test_charts_are_svg_within_their_frame(points):
    svg = line_chart([Series("a & b", points, "dots", 1, ["<x>"] * 3), Series("c", points, "steps")], "x", "y")
    root = ET.fromstring(svg)
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx")) <= 480
        assert 0 <= float(circle.get("cy")) <= 240
    for line in root.iter("polyline"):
        spots = np.array([spot.split(",") for spot in line.get("points").split()], float)
        assert ((spots >= 0) & (spots <= [480, 240])).all()
