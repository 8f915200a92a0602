"""Plain and shifted samples as jobs of the page."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from page_turns import follow_work
from PIL import Image
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.line import Stopped
from samplesmith.app.page.models import IN_HAND, Models
from samplesmith.app.page.studio import Studio
from samplesmith.app.page.time_shift.comparison import (
    ShiftRequest,
    StepDone,
    difference_pictures,
    run_comparison,
    saturated_share,
)
from samplesmith.assets import call_defaults
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.counting import denoisers
from samplesmith.pipelines.row import Row

SHIFT = ShiftRequest("emoji-sd3", "a star on blue", "flow-euler", 4, 160, 200, "paper", 0.0, True, 2, 3)


def test_saturated_share():
    request = replace(SHIFT, window=40)
    grid_times = [1000.0, 700.0, 400.0, 100.0]
    chosen = [[1000.0, 1000.0], [680.0, 700.0], [420.0, 380.0], [100.0, 100.0]]
    assert (
        saturated_share(request, grid_times, chosen, 1000) == 0.75
    )  # the last is below the cutoff, the first unmatched
    assert saturated_share(replace(request, variant="reference"), grid_times, chosen, 1000) is None
    assert saturated_share(replace(request, window=0), grid_times, chosen, 1000) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": -1}, "the window is -1"),
        ({"cutoff": float("nan")}, "the cutoff is nan"),
        ({"steps": 1}, "the number of steps is 1"),
        ({"variant": "__init__"}, "no variant '__init__' on this page; it has paper, reference"),
        ({"images": 9}, "the number of images is 9"),
        ({"data_variance": -0.5}, "the data variance is -0.5"),
        ({"condition": "a unicorn on blue"}, "unknown word 'unicorn'"),
        ({"condition": ["a"]}, "the prompt is empty"),
    ],
)
def test_what_may_not_be_asked_of_time_shift(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        replace(SHIFT, **changes).check(Models(), Limits())
    assert message in str(error.value)


def test_a_comparison_is_plain_and_shifted_from_the_same_noises(studio, tmp_path):
    pipe = studio.models.pipeline("emoji-sd3")
    stock = pipe.scheduler
    (tmp_path / "a").mkdir()
    news, found = follow_work(studio, partial(run_comparison, studio, SHIFT, tmp_path / "a"))
    assert [one.call for one in news if isinstance(one, StepDone)] == list(range(1, 9))
    assert pipe.scheduler is stock
    assert not denoisers(pipe)[0]._forward_pre_hooks
    assert len(found.grid) == len(found.chosen) == 4
    assert found.chosen[0] == [found.grid[0]] * 2
    assert any(row != [time] * 2 for time, row in zip(found.grid, found.chosen, strict=True))
    assert all(abs(one - time) <= 81 for time, row in zip(found.grid, found.chosen, strict=True) for one in row)
    assert 0 <= found.saturated <= 1
    plain, _ = PipelineCall(pipe, call_defaults("emoji-sd3") | {"num_inference_steps": 4})(
        Row.draws("a star on blue", [3, 4])
    )
    assert (np.asarray(Image.open(found.plain[0])) == plain[0]).all()
    (tmp_path / "b").mkdir()
    _, still = follow_work(studio, partial(run_comparison, studio, replace(SHIFT, window=0), tmp_path / "b"))
    assert [file.read_bytes() for file in still.shifted] == [file.read_bytes() for file in still.plain]
    assert still.saturated is None


def test_a_comparison_is_cancelled_and_puts_the_scheduler_back(studio, tmp_path):
    pipe = studio.models.pipeline("emoji-sd3")
    stock = pipe.scheduler

    def cancel(turn, news):
        if isinstance(news, StepDone) and news.call == 6:
            turn.stop()

    with pytest.raises(Stopped):
        follow_work(studio, partial(run_comparison, studio, SHIFT, tmp_path), cancel)
    assert pipe.scheduler is stock
    assert not denoisers(pipe)[0]._forward_pre_hooks


def test_solvers_are_those_of_the_model_s_kind(studio):
    with pytest.raises(ValueError, match="ddim does not solve emoji-sd3; take one of flow-euler"):
        replace(SHIFT, solver="ddim").check(studio.models, studio.limits)
    own = replace(SHIFT, solver=None).check(studio.models, studio.limits)
    assert own.solver == "flow-euler"


def test_time_shift_of_a_class_conditional_pipeline_in_hand(tmp_path):
    import torch
    from diffusers import DDIMScheduler, UNet2DModel
    from samplesmith import ClassConditionalPipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            num_class_embeds=3,
        )
    pipe = ClassConditionalPipeline(DDIMScheduler(), unet=unet.eval(), id2label={0: "bag", 1: "boot"}, null_class=2)
    models = Models(pipe=pipe)
    assert models.labels(IN_HAND) == ["bag", "boot"]
    studio = Studio(models)
    for solver in ("ddim", "pndm", "dpmsolver++"):
        folder = tmp_path / solver
        folder.mkdir()
        request = ShiftRequest(IN_HAND, "boot", solver, 6, 80, 100, "paper", 0.0, True, 2, 0)
        _, found = follow_work(studio, partial(run_comparison, studio, request.check(models, studio.limits), folder))
        assert len(found.shifted) == 2
        assert len(found.chosen) == len(found.grid)
        assert 0 <= found.saturated <= 1
    studio.close()


def test_a_difference_picture_is_gray_where_nothing_differs(tmp_path):
    for name, value in (("plain", 100), ("shifted", 110)):
        pixels = np.full((4, 4, 3), 100, np.uint8)
        pixels[0] = value
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (apart,) = difference_pictures([tmp_path / "plain.png"], [tmp_path / "shifted.png"])
    assert (apart[1:] == 128).all()
    assert (apart[0] == 128 + 20).all(), "four times the difference, over the range of both signs"
