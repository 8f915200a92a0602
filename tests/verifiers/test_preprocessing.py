import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from samplesmith import assets, scenes
from samplesmith.verifiers import load_verifier
from samplesmith.verifiers.preprocessing import OpenClipPreprocessing
from samplesmith.verifiers.transformers_clip import TransformersPreprocessing
from transformers import CLIPImageProcessor

PROMPT = "three cats on pink"
SIZES = [
    (128, 128),
    (320, 128),
    (128, 320),
    (640, 1536),
    (64, 64),
    (100, 37),
    (333, 777),
    (512, 512),
    (129, 127),
    (31, 9),
]
KINDS = ["rgb.png", "photo.jpg", "lossy.webp", "palette.png", "deep.png", "sheer.png", "few.gif", "grey.jpg"]


@pytest.fixture(scope="module")
def scene():
    return Image.fromarray(scenes.draw(np.random.default_rng(0), scenes.parse(PROMPT)).image)


@pytest.fixture(scope="module")
def emoji():
    """What open_clip alone makes of emoji-clip: a picture in, a score out."""
    source = f"local-dir:{assets.path('emoji-clip')}"
    with torch.random.fork_rng():
        model, _, transform = open_clip.create_model_and_transforms(source)
    with torch.no_grad():
        text = model.eval().encode_text(open_clip.get_tokenizer(source)([PROMPT]), normalize=True)[0]

    @torch.no_grad()
    def score(picture):
        return float(model.encode_image(transform(picture)[None], normalize=True)[0] @ text)

    return score


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def save(scene, size, kind, folder):
    """Write a picture of a kind; returns its file, and the picture in RGB that a viewer shows."""
    picture = scene.resize(size, Image.Resampling.BICUBIC)
    file = folder / kind
    if kind == "palette.png" or kind == "few.gif":
        picture.quantize(32).save(file)
        return file, picture.quantize(32).convert("RGB")
    if kind == "deep.png":
        grey = picture.convert("L")
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(file)
        return file, grey.convert("RGB")
    if kind == "sheer.png":
        alpha = np.asarray(picture.convert("L"))
        Image.fromarray(np.dstack([np.asarray(picture), alpha])).save(file)
        share = alpha[..., None] / 255
        return file, Image.fromarray(np.rint(np.asarray(picture) * share + 255 * (1 - share)).astype(np.uint8))
    (picture.convert("L") if kind == "grey.jpg" else picture).save(file)
    return file, Image.open(file)


@pytest.mark.parametrize("size", SIZES)
def test_files_of_any_size_and_kind_score_as_by_open_clip_itself(scene, emoji, emoji_clip, tmp_path, size):
    files, expected = [], []
    for kind in KINDS:
        file, picture = save(scene, size, kind, tmp_path)
        files.append(file)
        expected.append(emoji(picture))
    # Alpha is blended in integers here and in floats above: half a level.
    assert emoji_clip(files, PROMPT).tolist() == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 1e-2


@pytest.mark.parametrize("size", SIZES)
def test_eight_bits_in_a_tensor_score_as_their_file(scene, emoji, emoji_clip, size):
    """What a search scores before it saves."""
    picture = scene.resize(size, Image.Resampling.BICUBIC)
    assert emoji_clip(tensor(picture), PROMPT).item() == pytest.approx(emoji(picture), abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_with_gradients_it_scores_nearly_the_same(scene, emoji, emoji_clip, size):
    picture = scene.resize(size, Image.Resampling.BICUBIC)
    x = tensor(picture).requires_grad_()
    score = emoji_clip(x, PROMPT)
    score.backward()
    assert score.item() == pytest.approx(emoji(picture), abs=1e-3)
    assert (x.grad.abs().sum((1, 3)) > 0).float().mean() > 0.5


def test_a_mate_between_levels_does_not_change_how_eight_bits_are_seen(scene, emoji, emoji_clip):
    picture = scene.resize((320, 200), Image.Resampling.BICUBIC)
    both = torch.cat([tensor(picture), tensor(picture) * 0.999])
    first, second = emoji_clip(both, PROMPT).tolist()
    assert first == pytest.approx(emoji(picture), abs=1e-5)
    assert second == pytest.approx(emoji(picture), abs=2e-3)


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, (32, 48)])
def test_every_setting_of_open_clip(scene, resize_mode, interpolation, size):
    config = PreprocessCfg(
        size=size,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        interpolation=interpolation,
        resize_mode=resize_mode,
        fill_color=90,
    )
    ours, theirs = OpenClipPreprocessing(vars(config)), image_transform_v2(config, is_train=False)
    expected_size = (32, 32) if size == 32 else size
    for one in SIZES:
        picture = scene.resize(one, Image.Resampling.BICUBIC)
        expected = theirs(picture)
        made = ours([picture])
        assert made.shape == (1, 3, *expected_size)
        assert torch.allclose(made[0], expected, atol=1e-5)
        assert torch.allclose(ours(tensor(picture))[0], expected, atol=1e-5)
        smooth = ours(tensor(picture).requires_grad_())[0]
        # One level of 8 bits; a hard edge may differ more, as Pillow clips between its passes.
        assert (smooth - expected).abs().median() <= 1.01 / 255 / 0.2
        assert (smooth - expected).abs().mean() <= 1.01 / 255 / 0.2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": {"height": 32, "width": 32}, "do_center_crop": False},
        {"size": {"shortest_edge": 40}},
        {"resample": 2},
        {"do_normalize": False},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]},
    ],
)
def test_every_setting_of_transformers(scene, settings):
    given = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}} | settings
    processor = CLIPImageProcessor(**given)
    ours = TransformersPreprocessing(processor)
    assert ours.size == (32, 32)
    for one in [*SIZES, (32, 32), (32, 40)]:
        picture = scene.resize(one, Image.Resampling.BICUBIC)
        expected = processor(picture, return_tensors="pt").pixel_values[0]
        assert torch.allclose(ours([picture])[0], expected, atol=1e-5)
        assert torch.allclose(ours(tensor(picture))[0], expected, atol=1e-5)
        x = tensor(picture).requires_grad_()
        smooth = ours(x)[0]
        assert (smooth - expected).abs().mean() <= 1.01 / 255 / 0.25
        smooth.sum().backward()
        assert x.grad.abs().sum() > 0


def test_the_aesthetic_head_and_the_compared_features_see_the_same_picture(scene, emoji_clip, tmp_path):
    aesthetic, compared = load_verifier("emoji-aesthetic"), load_verifier("self-supervised:emoji-clip")
    files = []
    for size in SIZES[:4]:
        file, _ = save(scene, size, "rgb.png", tmp_path)
        files.append(file.rename(tmp_path / f"{len(files)}.png"))
        features = emoji_clip.image_features([Image.open(files[-1])])
        assert aesthetic([files[-1]], "").item() == pytest.approx(aesthetic.head(features).item(), abs=1e-4)
    assert compared(files, "", files).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
