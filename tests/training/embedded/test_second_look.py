"""What an eye said of generated pictures goes over their labels, and only where it was said."""

import json

import numpy as np
import pytest
from samplesmith.scenes import Sprite
from samplesmith.training.embedded.generated_scenes import GeneratedScene
from samplesmith.training.embedded.second_look import FILE, Correction, corrected, read_corrections

CAT, DOG, STRAY = Sprite("cat", 10, 10, 30), Sprite("dog", 60, 60, 40), Sprite("stray", 100, 20, 12)
PICTURE = GeneratedScene(np.zeros((128, 128, 3), np.uint8), "blue", (CAT,), (DOG,), (STRAY,))


@pytest.mark.parametrize(
    ("correction", "sprites", "malformed", "doubtful"),
    [
        (Correction(0, 25, 25, 30, "malformed"), (), (DOG, CAT), (STRAY,)),
        (Correction(0, 83, 79, 40, "whole"), (CAT, DOG), (), (STRAY,)),  # three pixels off
        (Correction(0, 80, 80, 40, "doubtful"), (CAT,), (), (STRAY, DOG)),
        (Correction(0, 106, 26, 12, "whole"), (CAT,), (DOG,), ()),  # what is no sprite is nothing
        (Correction(0, 30, 100, 20, "malformed"), (CAT,), (DOG, Sprite("stray", 20, 90, 20)), (STRAY,)),
        (Correction(7, 25, 25, 30, "malformed"), (CAT,), (DOG,), (STRAY,)),
    ],
)
def test_a_correction_moves_the_sprite_that_is_meant(correction, sprites, malformed, doubtful):
    (seen,) = corrected([PICTURE], [correction])
    assert (seen.sprites, seen.malformed, seen.doubtful) == (sprites, malformed, doubtful)


def test_the_corrections_are_those_of_one_generator_and_seed():
    written = json.loads(FILE.read_text())
    found = read_corrections(written["generator"], written["seed"])
    assert len(found) > 100
    assert {one.grade for one in found} == {"whole", "malformed", "doubtful"}
    assert all(0 <= one.x <= 128 and 0 <= one.y <= 128 for one in found)
    assert read_corrections("another", written["seed"]) == []
    assert read_corrections(written["generator"], written["seed"] + 1) == []
