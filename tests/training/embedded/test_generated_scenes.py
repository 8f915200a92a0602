import numpy as np
import pytest
from samplesmith import scenes
from samplesmith.pipelines import load
from samplesmith.scenes import Sprite
from samplesmith.training.checkpoints import FolderError
from samplesmith.training.embedded import detector, generated_scenes
from samplesmith.training.embedded.generated_scenes import GeneratedScene, generate_scenes


@pytest.fixture
def few(monkeypatch):
    for name, value in {"BATCH": 2, "STEPS": 2, "STRENGTHS": (1.0,)}.items():
        monkeypatch.setattr(generated_scenes, name, value)


def test_pictures_are_drawn_once_and_a_rerun_reads_them(few, tmp_path, monkeypatch):
    pipeline = load("emoji-sd3")
    first = generate_scenes(pipeline, 3, 7, tmp_path)
    assert len(first) == 4
    assert first[0].image.shape == (128, 128, 3)
    monkeypatch.setattr(generated_scenes, "redraw", None)
    again = generate_scenes(pipeline, 4, 7, tmp_path)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.malformed == other.malformed
        assert one.sprites == other.sprites
    with pytest.raises(FolderError, match="another run"):
        generate_scenes(pipeline, 4, 8, tmp_path)


def seen(sprites=(), malformed=(), doubtful=()):
    image = np.zeros((128, 128, 3), np.uint8)
    image[:] = scenes.BACKGROUNDS["pink"]
    for sprite in (*sprites, *malformed, *doubtful):
        image[sprite.y : sprite.y + sprite.size, sprite.x : sprite.x + sprite.size] = 7
    return GeneratedScene(image, "pink", sprites, malformed, doubtful)


def test_the_loss_passes_over_what_is_doubtful_and_only_that():
    wanted = detector.targets([seen((Sprite("cat", 0, 0, 32),), doubtful=(Sprite("dog", 64, 64, 32),))])
    passed = (wanted.counted[0, 0] == 0).nonzero()
    assert passed.amin(0).tolist() == [8, 8]
    assert passed.amax(0).tolist() == [11, 11]
    assert wanted.heat[0, scenes.OBJECTS.index("cat"), 2, 2] == 1
    assert wanted.centre.sum() == 1


def test_a_moved_picture_takes_its_labels_along():
    rng = np.random.default_rng(0)
    picture = seen((Sprite("cat", 10, 20, 32),), (Sprite("dog", 80, 90, 34),))
    places = set()
    for _ in range(20):
        moved = detector.moved(rng, picture)
        sprite = moved.sprites[0]
        places.add((sprite.x, sprite.y))
        assert (moved.image[sprite.y : sprite.y + 32, sprite.x : sprite.x + 32] == 7).all()
        assert (moved.image == 7).sum() == (picture.image == 7).sum()
        assert np.subtract(moved.malformed[0].center, picture.malformed[0].center).tolist() == [
            sprite.x - 10,
            sprite.y - 20,
        ]
    assert len(places) > 5
