"""Outputs in any form, and clips as candidates."""

import diffusers
import numpy as np
import pytest
import torch
import toys
from diffusers import AudioPipelineOutput, ImagePipelineOutput
from diffusers.pipelines.kandinsky5.pipeline_output import KandinskyImagePipelineOutput
from diffusers.pipelines.wan.pipeline_output import WanPipelineOutput
from fakes import Brightness
from PIL import Image
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.clip import Clip, as_array, as_picture, read_picture_or_clip
from samplesmith.pipelines.outputs import check_output, finished_pixels, main_output, makes_clips
from samplesmith.pipelines.search.records import load_picture

PIXELS = np.random.default_rng(0).random((2, 3, 8, 8, 3))
CLIPS = ["WanPipeline", "LTXPipeline", "AnimateDiffPipeline", "LattePipeline"]


@pytest.mark.parametrize(
    "out",
    [
        ImagePipelineOutput(images=PIXELS[:, 0]),
        KandinskyImagePipelineOutput(image=PIXELS[:, 0]),
        KandinskyImagePipelineOutput(image=torch.from_numpy(PIXELS[:, 0])),
        (PIXELS[:, 0],),
        WanPipelineOutput(frames=PIXELS),
        WanPipelineOutput(frames=[list(clip) for clip in PIXELS]),
    ],
)
def test_pixels_of_any_output(out):
    pixels, usable = finished_pixels(out)
    shape = np.shape(main_output(out))
    assert pixels.dtype == np.uint8
    assert pixels.shape == tuple(shape)
    assert usable == [True, True]
    assert np.abs(pixels - 255 * np.asarray(main_output(out))).max() <= 0.5 + 1e-5


def test_pictures_of_pil_and_of_grey():
    grey = finished_pixels(ImagePipelineOutput(images=PIXELS[:, 0, ..., :1]))[0]
    assert grey.shape == (2, 8, 8, 3)
    assert (grey == grey[..., :1]).all()
    pictures = [Image.fromarray(one) for one in finished_pixels((PIXELS[:, 0],))[0]]
    assert (finished_pixels(ImagePipelineOutput(images=pictures))[0] == np.stack(pictures)).all()


def test_one_frame_with_nan_spoils_a_clip():
    spoiled = PIXELS.copy()
    spoiled[1, 2, 0, 0, 0] = np.nan
    assert finished_pixels(WanPipelineOutput(frames=spoiled))[1] == [True, False]


def test_other_outputs_are_told():
    with pytest.raises(ValueError, match=r"shape \(2, 8\) is no batch of pictures or clips"):
        finished_pixels(AudioPipelineOutput(audios=np.zeros((2, 8))))


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (diffusers.AudioLDM2Pipeline, "audios"),
        (diffusers.KandinskyV22PriorPipeline, "image_embeds"),
        (diffusers.FluxPriorReduxPipeline, "prompt_embeds"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_output_class(kind, made):
    with pytest.raises(ValueError, match=f"{kind.__name__} makes {made}, and only pictures and clips can be scored"):
        check_output(kind.__new__(kind))


def test_clips_are_known_by_their_output_class():
    made = {kind.__name__: makes_clips(kind.__new__(kind)) for kind in (diffusers.WanPipeline, diffusers.FluxPipeline)}
    assert made == {"WanPipeline": True, "FluxPipeline": False}
    for name in CLIPS:
        check_output(toys.build(name))


@pytest.mark.parametrize("name", ["Kandinsky5T2IPipeline", *CLIPS])
def test_searched_scored_saved_and_made_again(name, tmp_path):
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    common = {"num_candidates": 3, "seed": 3, "progress": False, **arguments}
    every_frame = Brightness()
    every_frame.num_frames = None
    one, three = (
        NoiseSearch(pipe, every_frame)(prompt, batch_size=size, output_dir=tmp_path / str(size), **common)
        for size in (1, 3)
    )
    assert [r["score"] for r in three.records] == pytest.approx([r["score"] for r in one.records], abs=1e-5)
    best = three.best[0]
    pixels = as_array(best.picture)
    assert pixels.ndim == (3 if name == "Kandinsky5T2IPipeline" else 4)
    assert best.score == pytest.approx(float(pixels.mean() / 255), abs=1e-5)
    assert np.abs(as_array(best.reproduce(pipe)).astype(int) - pixels).max() <= 1
    plain = finished_pixels(pipe(**best.pipeline_kwargs(), output_type="np"))[0][0]
    assert np.abs(plain.astype(int) - pixels).max() <= 1
    assert best.image.size == pixels.shape[-2:-4:-1]

    three.save(tmp_path / "out")
    assert (as_array(load_picture(tmp_path / "out/best.png")) == pixels).all()
    assert (tmp_path / "out/contact_sheet.png").exists()
    again = NoiseSearch(pipe, every_frame)(prompt, batch_size=3, output_dir=tmp_path / "3", **common)
    assert (as_array(again.best[0].picture) == pixels).all()


def test_a_clip_is_saved_without_loss_with_its_equal_frames(tmp_path):
    frames = (PIXELS[0] * 255).astype(np.uint8)[[0, 0, 0, 1, 2, 2]]
    clip = as_picture(frames)
    assert isinstance(clip, Clip)
    clip.save(tmp_path / "clip.png")
    assert (as_array(read_picture_or_clip(tmp_path / "clip.png")) == frames).all()
    assert (np.asarray(clip.middle) == frames[3]).all()
    (tmp_path / "clip.png").write_bytes((tmp_path / "clip.png").read_bytes()[:200])
    with pytest.raises(RecordsError, match="missing or corrupt"):
        load_picture(tmp_path / "clip.png")


def test_a_still_clip_is_a_clip_again(tmp_path):
    """All frames equal: one in the file; and a clip of one frame is no picture."""
    for count in (1, 4):
        frames = np.repeat((PIXELS[0, :1] * 255).astype(np.uint8), count, 0)
        as_picture(frames).save(tmp_path / "clip.png")
        assert (as_array(load_picture(tmp_path / "clip.png")) == frames).all()
