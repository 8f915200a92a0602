import struct
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith.verifiers import images as module
from samplesmith.verifiers.images import (
    PictureError,
    Pictures,
    as_shown,
    image_batches,
    read_images,
    read_picture,
    to_picture,
    to_tensor,
)

SIDE = 8


def colours(seed=0):
    """An array (8, 8, 3) of blocks of colour, which JPEG keeps well."""
    blocks = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return blocks.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)


def ramp16():
    return np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 1040


def shown(file, keep_grey=False):
    picture = read_picture(file, keep_grey)
    assert picture.mode in ("RGB", "L")
    return np.asarray(picture).astype(int)


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, -1).astype(int)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tiff", "gif", "jpg"])
def test_opaque_pictures_are_what_was_saved(tmp_path, suffix):
    file = tmp_path / f"picture.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(colours()).save(file, **options)
    assert abs(shown(file) - colours()).max() <= (2 if suffix == "jpg" else 0)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bits_of_grey_are_scaled(tmp_path, suffix):
    Image.fromarray(ramp16()).save(tmp_path / f"deep.{suffix}")
    assert np.array_equal(shown(tmp_path / f"deep.{suffix}"), grey(np.rint(ramp16() / 257)))
    assert shown(tmp_path / f"deep.{suffix}", keep_grey=True).shape == (SIDE, SIDE)


def test_big_endian_16_bits_and_32_bits_of_16():
    expected = np.rint(ramp16() / 257)
    for picture in (
        Image.frombytes("I;16B", (SIDE, SIDE), ramp16().astype(">u2").tobytes()),
        Image.fromarray(ramp16().astype(np.int32)),
    ):
        assert np.array_equal(np.asarray(as_shown(picture)).astype(int), grey(expected))


def test_a_transparent_grey_of_16_bits_is_white(tmp_path):
    picture = Image.fromarray(ramp16())
    picture.save(tmp_path / "deep.png", transparency=1040)
    expected = np.rint(ramp16() / 257)
    expected[0, 1] = 255
    assert np.array_equal(shown(tmp_path / "deep.png"), grey(expected))


def test_floats_in_the_unit_range(tmp_path):
    values = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    Image.fromarray(values).save(tmp_path / "float.tiff")
    assert np.array_equal(shown(tmp_path / "float.tiff"), grey(np.rint(values * 255)))


@pytest.mark.parametrize("values", [np.float32([[0, 255]]), np.float32([[np.nan, 0]]), np.int32([[0, 70000]])])
def test_numbers_without_an_agreed_meaning_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "odd.tiff")
    with pytest.raises(PictureError, match=r"odd\.tiff has numbers from .* \(mode [IF]\), and only 0 to"):
        read_picture(tmp_path / "odd.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_it_is_turned_as_its_exif_says(tmp_path, orientation, suffix):
    turns = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: np.rot90(np.fliplr(x)),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(np.fliplr(x), -1),
        8: np.rot90,
    }
    stored = np.concatenate([colours(), colours(1)], 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(stored).save(tmp_path / f"turned.{suffix}", exif=exif, **options)
    assert abs(shown(tmp_path / f"turned.{suffix}") - turns[orientation](stored)).max() <= 2


def test_damaged_exif_is_ignored(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "broken.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=100)
    assert shown(tmp_path / "broken.jpg").shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("LA", "png"), ("RGBA", "tiff")])
def test_what_is_transparent_lies_over_white(tmp_path, mode, suffix):
    alpha = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)
    hidden = colours()[..., : len(mode) - 1]
    pixels = np.concatenate([hidden, alpha[..., None]], -1)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(pixels, mode).save(tmp_path / f"sheer.{suffix}", **options)
    share = alpha[..., None] / 255
    expected = hidden * share + 255 * (1 - share)
    assert abs(shown(tmp_path / f"sheer.{suffix}") - expected).max() <= 1
    assert shown(tmp_path / f"sheer.{suffix}")[0, 0].tolist() == [255, 255, 255]
    assert shown(tmp_path / f"sheer.{suffix}", keep_grey=True).ndim == (2 if mode == "LA" else 3)


def test_premultiplied_alpha_lies_over_white_too():
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, :, :] = [[100, 0, 0, 128], [0, 0, 0, 0]]
    picture = Image.fromarray(pixels, "RGBA").convert("RGBa")
    expected = np.asarray(as_shown(Image.fromarray(pixels, "RGBA"))).astype(int)
    assert abs(np.asarray(as_shown(picture)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_one_transparent_colour_is_white(tmp_path, mode):
    pixels = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(tmp_path / "keyed.png", transparency=(0, 0, 0) if mode == "RGB" else picture.getpixel((0, 0)))
    assert shown(tmp_path / "keyed.png").tolist() == [[[255] * 3] * 2]


def test_palettes_and_the_transparent_colour_of_a_gif(tmp_path):
    palette = Image.fromarray(colours()).quantize(8)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(shown(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    index = palette.getpixel((0, 0))
    palette.save(tmp_path / "sheer.gif", transparency=index)
    after = shown(tmp_path / "sheer.gif")
    hidden = np.asarray(palette) == index
    assert (after[hidden] == 255).all()
    assert np.array_equal(after[~hidden], colours()[~hidden])


def test_cmyk_and_other_models_are_converted(tmp_path):
    picture = Image.fromarray(colours())
    picture.convert("CMYK").save(tmp_path / "print.tiff")
    assert abs(shown(tmp_path / "print.tiff") - colours()).max() <= 1
    picture.convert("CMYK").save(tmp_path / "print.jpg", quality=100, subsampling=0)
    assert abs(shown(tmp_path / "print.jpg") - colours()).max() <= 4
    assert abs(np.asarray(as_shown(picture.convert("YCbCr"))).astype(int) - colours()).max() <= 4
    assert abs(np.asarray(as_shown(picture.convert("HSV"))).astype(int) - colours()).max() <= 12


def test_black_and_white_is_grey(tmp_path):
    Image.fromarray(np.eye(SIDE, dtype=bool)).save(tmp_path / "bits.png")
    assert np.array_equal(shown(tmp_path / "bits.png", keep_grey=True), 255 * np.eye(SIDE, dtype=int))


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.fromarray(colours(seed)).quantize(8) for seed in (0, 1)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(shown(tmp_path / "two.gif"), colours())


def test_what_is_shown_is_a_copy():
    picture = Image.fromarray(colours())
    as_shown(picture).paste("red", (0, 0, SIDE, SIDE))
    assert np.array_equal(np.asarray(picture), colours())


def damaged(kind, file):
    if kind == "missing":
        return "no picture"
    if kind == "pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n")
        return "is a git-lfs pointer, not the picture: run git lfs pull"
    if kind == "text":
        file.write_text("hello")
        return "cannot be read .no format that Pillow knows"
    if kind == "empty":
        file.write_bytes(b"")
        return "cannot be read"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
    data = file.read_bytes()
    if kind == "torn":
        file.write_bytes(data[: len(data) // 2])
    if kind == "bomb":  # a header that promises 60000 x 60000 pixels
        import zlib

        header = data[12:16] + struct.pack(">II", 60000, 60000) + data[24:29]
        file.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
        return "cannot be read .*decompression bomb"
    return "cannot be read"


@pytest.mark.parametrize("kind", ["missing", "pointer", "text", "empty", "torn", "bomb"])
def test_what_cannot_be_read_is_one_sentence_with_its_name(tmp_path, kind):
    file = tmp_path / "picture.png"
    message = damaged(kind, file)
    with pytest.raises(PictureError, match=message) as caught:
        read_picture(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(PictureError, match="cannot be read"):
        read_picture(tmp_path)


def test_forms_are_told_apart_before_anything_is_read(tmp_path):
    files = [tmp_path / "a.png", str(tmp_path / "b.png")]
    assert isinstance(read_images(files), Pictures)
    assert len(read_images(tmp_path / "a.png")) == 1
    clips = read_images([files, files[:1]])
    assert [len(clip) for clip in clips] == [2, 1]
    with pytest.raises(PictureError, match=r"no picture .*a\.png"):
        read_images(files)[0]


@pytest.mark.parametrize(
    "bad", [3, [3], [Image.new("L", (1, 1)), 3], [[]], {"a": 1}, torch.zeros(3, 8, 8), np.zeros(3)]
)
def test_other_forms_are_one_sentence(bad):
    with pytest.raises(ValueError, match=r"images (are a|have shape).*expected a float tensor \(batch, 3"):
        read_images(bad)


def test_pictures_are_held_one_after_the_other(tmp_path, monkeypatch, emoji_clip):
    made_so_far, most = [], []
    original = module.as_shown

    def counted(picture, keep_grey=False):
        made = original(picture, keep_grey)
        made_so_far.append(weakref.ref(made))
        most.append(sum(one() is not None for one in made_so_far))
        return made

    files = []
    for k in range(6):
        files.append(tmp_path / f"{k}.png")
        Image.new("RGB", (300, 200), (40 * k, 0, 0)).save(files[-1])
    monkeypatch.setattr(module, "as_shown", counted)
    emoji_clip(files, "a cat on pink")
    assert len(most) == 6
    assert max(most) <= 2


def test_batches_end_where_sizes_change_or_memory_would_be_full():
    pictures = read_images([Image.new("L", size) for size in [(4, 4)] * 5 + [(2, 4)] * 2 + [(4, 4)]])
    ranges = [(a, b, tuple(x.shape)) for a, b, x, _ in image_batches(pictures, None, 3, False)]
    assert ranges == [(0, 3, (3, 3, 4, 4)), (3, 5, (2, 3, 4, 4)), (5, 7, (2, 3, 4, 2)), (7, 8, (1, 3, 4, 4))]
    bounded = [(a, b) for a, b, _, _ in image_batches(pictures, None, 3, False, most_pixels=32)]
    assert bounded == [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8)]


def test_previews_keep_to_their_images_whatever_the_sizes():
    pictures = read_images([Image.new("L", (4, 4), k) for k in range(4)])
    early = read_images([Image.new("L", (2 + k // 3, 2), k) for k in range(4)])
    for a, _, batch, before in image_batches(pictures, early, 2, True):
        assert torch.equal(batch[:, 0, 0, 0], before[:, 0, 0, 0])
        assert round(float(batch[0, 0, 0, 0]) * 255) == a
    tensor = torch.zeros(4, 3, 4, 4)
    assert [(a, b) for a, b, _, _ in image_batches(tensor, early, 2, True)] == [(0, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_become_tensors_and_pictures_again(mode):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(levels if mode == "L" else np.dstack([levels, levels.T, 255 - levels]))
    tensor = to_tensor(picture)
    assert torch.equal(tensor, torch.from_numpy(np.array(picture)).reshape(1, 16, 16, -1).movedim(-1, 1) / 255)
    again = to_picture(tensor[0])
    assert again.mode == mode
    assert again.tobytes() == picture.tobytes()


def test_between_levels_the_nearest_is_taken_and_what_lies_outside_is_cut():
    image = torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.2]).expand(3, 1, 5)
    assert np.asarray(to_picture(image))[0, :, 0].tolist() == [0, 0, 1, 255, 255]
