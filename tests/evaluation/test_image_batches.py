import numpy as np
import pytest
import torch
from feature_sets import uniform
from PIL import Image
from samplesmith.evaluation.image_batches import image_batches, image_files


def test_grey_images_have_one_channel(tmp_path):
    stack = torch.arange(3 * 28 * 28).reshape(3, 28, 28).remainder(256).byte()
    for k, image in enumerate(stack):
        Image.fromarray(image.numpy()).save(tmp_path / f"{k}.png")
    (from_stack,), (from_folder,) = image_batches(stack), image_batches(tmp_path)
    assert from_stack.shape == (3, 1, 28, 28)
    torch.testing.assert_close(from_stack, from_folder)
    torch.testing.assert_close(from_stack[:, 0] * 255, stack.float())


def test_pictures_are_taken_as_a_viewer_shows_them(tmp_path):
    """Folders that look alike are alike, whatever their files' form."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    colours[:, 0] = 255
    for k, image in enumerate(colours):
        plain, turned = Image.fromarray(image), Image.fromarray(np.rot90(image))
        sheer = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        sheer[0] = [1, 2, 3, 0]  # hidden colours
        exif = Image.Exif()
        exif[0x0112] = 6
        for folder in ("plain", "sheer", "turned"):
            (tmp_path / folder).mkdir(exist_ok=True)
        plain.save(tmp_path / f"plain/{k}.png")
        turned.save(tmp_path / f"turned/{k}.png", exif=exif)
        Image.fromarray(sheer).save(tmp_path / f"sheer/{k}.png")
    (expected,) = image_batches(tmp_path / "plain")
    for folder in ("sheer", "turned"):
        (found,) = image_batches(tmp_path / folder)
        assert torch.equal(found, expected)
    Image.fromarray(colours[0, ..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (deep,) = image_batches([tmp_path / "deep.png"])
    assert torch.equal(deep[0, 0] * 255, torch.from_numpy(colours[0, ..., 0]).float())


def test_files_of_a_folder_and_its_subfolders_in_order(tmp_path):
    for name in ("b.png", "sub/a.JPG", "a.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in image_files(tmp_path)] == ["a.webp", "b.png", "a.JPG"]


def test_batches_are_no_larger_than_asked_for_and_those_that_come_as_batches_are_kept():
    images = uniform(7, 3, 4, 4)
    assert [len(batch) for batch in image_batches(images, 3)] == [3, 3, 1]
    assert [len(batch) for batch in image_batches(images.split([2, 5]), 3)] == [2, 5]
    assert torch.equal(torch.cat(list(image_batches(images, 3))), images)
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(image_batches(images, 0))


GOOD = uniform(8, 3, 4, 4)


@pytest.mark.parametrize(
    ("message", "images"),
    [
        ("no folder nowhere", "nowhere"),
        ("1 of a batch of 8 made images hold NaN", GOOD.where(torch.arange(8).view(8, 1, 1, 1) != 3, torch.nan)),
        ("the made images span -1 to", 2 * GOOD.where(GOOD > 0.2, 0) - 1),
        ("the made images have dtype torch.int64", (255 * GOOD).long()),
        (r"have shape \(8, 4, 4, 4\)", uniform(8, 4, 4, 4)),
        (r"have shape \(3, 4, 4\)", [GOOD[0]]),
        ("some are 4 x 4 RGB, some 5 x 4 RGB", [GOOD, uniform(8, 3, 4, 5)]),
        ("some are 4 x 4 RGB, some 4 x 4 grey", [GOOD, GOOD[:, :1]]),
        ("the made images are a int", 3),
        ("come as dict", [{}]),
    ],
)
def test_bad_images(message, images):
    with pytest.raises(ValueError, match=message):
        list(image_batches(images, name="made"))


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        list(image_batches(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"a.png is 4 x 4 RGB but .*b.png 6 x 4 RGB"):
        list(image_batches(tmp_path))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"b.png cannot be read"):
        list(image_batches(tmp_path))
