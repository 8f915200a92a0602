"""A picture while it is being drawn."""

from types import SimpleNamespace

import toys
from PIL import Image
from samplesmith.app.page.on_the_way import shown_on_the_way
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.counting import count_costs
from samplesmith.pipelines.row import Row


def test_pictures_on_the_way_are_uncounted_and_change_nothing(tmp_path):
    pipe = toys.build("StableDiffusion")
    call = PipelineCall(pipe, {"num_inference_steps": 9, "height": 32, "width": 32})
    rows = Row.draws("a cat", [0, 1])
    plain, _ = call(rows)
    seen = []
    with count_costs(pipe) as counted, shown_on_the_way(pipe, tmp_path, seen.append) as stop:
        watched, _ = call(rows)
        assert counted.decodes == 2, "the pipeline's own"
        stop()
        call(rows)
    assert (plain == watched).all()
    assert len(seen) == len({one.file for one in seen}) >= 2, "until it is told to stop"
    assert [one.step for one in seen] == sorted(one.step for one in seen)
    assert all(Image.open(one.file).size == (32, 32) for one in seen)
    assert "step" not in vars(pipe.scheduler), "the scheduler is as it was"


def test_where_the_path_is_not_known_the_run_goes_on_without(tmp_path):
    pipe = SimpleNamespace(scheduler=SimpleNamespace(config={}))
    with shown_on_the_way(pipe, tmp_path, None) as stop:
        stop()
