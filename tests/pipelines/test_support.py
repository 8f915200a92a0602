import io

import pytest
import toys
from fakes import Brightness
from rich.console import Console
from samplesmith import TimeShiftScheduler, support
from samplesmith.pipelines import NoiseSearch


def test_says_yes_where_all_can_be_had():
    answers = support(toys.build("Flux"))
    assert answers.pipeline == "FluxPipeline"
    assert answers.scheduler == "FlowMatchEulerDiscreteScheduler"
    assert not any(answers.refusals.values())
    assert answers["halving"]
    assert answers.as_dict()["methods"] == dict.fromkeys(answers.refusals)


def test_refuses_in_the_words_of_the_methods_themselves():
    pipe = toys.build("Img2Img")
    answers = support(pipe)
    for method, name in (("zero-order search", "zero-order"), ("halving", "halving")):
        if answers[method]:
            continue
        with pytest.raises(ValueError, match="picture") as refusal:
            NoiseSearch(pipe, Brightness(), strategy=name)(toys.PROMPT, num_candidates=2, image=toys.picture())
        assert answers.refusals[method] == str(refusal.value)
    assert not answers["halving"]
    assert not answers["flow SDE"]
    assert answers["random search"]


def test_minds_what_is_planned():
    pipe = toys.build("StableDiffusion3")
    assert support(pipe)["halving"]
    skipping = support(pipe, skip_guidance_layers=[1])
    assert "skip_guidance_layers" in skipping.refusals["halving"]
    assert skipping["random search"]
    assert "takes no colour" in support(pipe, colour="red").refusals["random search"]


def test_a_pipeline_without_a_scheduler_of_its_own():
    answers = support(toys.build("UnCLIPPipeline"))
    assert answers.scheduler is None
    assert "no component named scheduler" in answers.refusals["time shift"]
    assert "without a scheduler" in str(answers)


def test_leaves_the_pipeline_as_it_is():
    pipe = toys.build("StableDiffusion3")
    before = (pipe.scheduler, dict(pipe.scheduler.config), set(vars(pipe)))
    support(pipe)
    assert (pipe.scheduler, dict(pipe.scheduler.config), set(vars(pipe))) == before


def test_both_tables_say_the_same():
    answers = support(toys.build("DiT"))
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(answers)
    table = console.export_text()
    for method, why in answers.refusals.items():
        assert method in str(answers)
        assert method in table
        assert (why or "yes") in table


def test_a_time_shift_can_be_halved_or_says_why():
    pipe = toys.build("StableDiffusion3")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler)
    assert "time shift" in support(pipe).refusals["halving"]


def test_frames_that_a_scheduler_takes_for_rows_are_told_before_any_call():
    pipe = toys.build("TextToVideoSDPipeline")
    assert "each frame of a clip" in support(pipe).refusals["halving"]
    assert support(pipe)["random search"]
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler)
    _, prompt, arguments = toys.TOYS["TextToVideoSDPipeline"]
    pipe.unet.register_forward_pre_hook(lambda *_: pytest.fail("a model call was paid for"))
    with pytest.raises(ValueError, match="each frame of a clip"):
        NoiseSearch(pipe, Brightness())(prompt, num_candidates=2, progress=False, **arguments)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("StableDiffusionAttendAndExcitePipeline", "max_iter_to_alter"),
        ("SemanticStableDiffusionPipeline", "edit_warmup_steps"),
    ],
)
def test_arguments_that_count_steps_cannot_be_halved(row, name):
    answers = support(toys.build(row), **toys.TOYS[row].arguments)
    assert f"{name} goes by the number of the step" in answers.refusals["halving"]
