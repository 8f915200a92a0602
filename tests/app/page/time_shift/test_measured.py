"""What was measured of a time-shift setting."""

import json

from samplesmith.app.page.time_shift.comparison import ShiftRequest
from samplesmith.app.page.time_shift.measured import measured


def test_measured_rows_are_read_whichever_way_they_went(tmp_path):
    file = tmp_path / "timeshift_fid.json"
    cell = {"solver": "ddim", "steps": 10, "arm": "paper", "window": 40, "cutoff": 200, "fid": [12.0, 14.0]}
    plain = {"solver": "ddim", "steps": 10, "arm": "plain", "window": 0, "cutoff": 0, "fid": [10.0, 12.0]}
    cell |= {"ratio": 1.18, "ratio_interval": [1.1, 1.26]}
    file.write_text(json.dumps({"model": "fashion-ddpm", "cells": [plain, cell]}))
    request = ShiftRequest("fashion-ddpm", "Bag", "ddim", 10, 40, 200, "paper", 0.0, True, 4, 0)
    assert measured(request, file) == "FID 13.00, plain 11.00, ratio 1.180 [1.100, 1.260]: worse than plain"
    assert measured(ShiftRequest(**{**vars(request), "window": 0}), file) == "FID 11.00 (plain)"
    for other in ({"window": 80}, {"model": "emoji-sd3"}, {"per_image": False}, {"variant": "reference"}):
        assert measured(ShiftRequest(**{**vars(request), **other}), file) is None
    file.write_text("{}")
    assert measured(request, file) is None
    assert measured(request, tmp_path / "none.json") is None
