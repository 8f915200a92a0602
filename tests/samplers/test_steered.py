"""Strategies in the loop of unmodified pipelines: the nodes and images of the state machine driven by hand."""

import io

import pytest
import torch
import toys
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, VQDiffusionScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.latent_score import LatentScore
from samplesmith.pipelines.search.evaluator import Evaluator
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import FlowSDEScheduler, SteeredScheduler, apply_per_sample_time
from samplesmith.samplers.strategies.svdd import Svdd
from steered_runs import CALLS, SCRIPT, SEED, STEPS, Setup, by_hand, in_its_own_loop, levels, scripted

SETUPS = {
    "SD3": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, diffusion="square", norm=3.0), {}),
    "FLUX": ("Flux", FlowSDEScheduler(use_dynamic_shifting=True, diffusion="linear"), {"true_cfg_scale": 1.0}),
    "SD": ("StableDiffusion", DDIMScheduler(), {"eta": 1.0}),
}


@pytest.fixture(scope="module")
def setups():
    return {name: Setup(toys.build(toy), scheduler, {}) for name, (toy, scheduler, _) in SETUPS.items()}


@pytest.fixture
def setup(setups, request):
    name = getattr(request, "param", "SD3")
    toy, scheduler, more = SETUPS[name]
    arguments = {**toys.TOYS[toy][2], **more}
    arguments.pop("num_inference_steps", None)
    pipe = setups[name].pipe
    pipe.scheduler = scheduler
    return Setup(pipe, scheduler, arguments)


@pytest.mark.parametrize("setup", ["SD3", "FLUX"], indirect=True)
@pytest.mark.parametrize("strategy", ["svdd", "rbf:warm_up=3", "tree"])
def test_the_images_of_the_state_machine_driven_by_hand(setup, strategy):
    ids, image = by_hand(setup, strategy)
    (own,) = in_its_own_loop(setup, strategy, scripted(SCRIPT))
    (visited,) = setup.pipe.scheduler.visited
    assert [one.node.id for one in visited] == ids
    assert [one.score for one in visited] == SCRIPT[: len(ids)]
    assert visited[-1].calls == CALLS
    assert levels(own, image) <= 1


@pytest.mark.parametrize("setup", ["SD3", "FLUX"], indirect=True)
def test_scores_are_those_of_a_search_in_windows(setup):
    """Guided or not: the same nodes, scored alike, and the image that the search finds."""
    guided = 1 if "true_cfg_scale" in setup.arguments else 2
    search = NoiseSearch(setup.pipe, Brightness(), "threshold:seen=1")
    arguments = {"budget": guided * CALLS, "seed": SEED, "num_inference_steps": STEPS, "batch_size": 1}
    found = search("a cat", progress=False, **arguments, **setup.arguments)
    score = LatentScore(setup.pipe, Brightness(), "a cat", 32, 32)
    (own,) = in_its_own_loop(setup, "threshold:seen=1", score)
    (visited,) = setup.pipe.scheduler.visited
    assert [one.node.id for one in visited] == [record["id"] for record in found.records]
    assert [one.score for one in visited] == pytest.approx([r["score"] for r in found.records], abs=1e-3)
    assert levels(own, found.best[0].image) <= 1


@pytest.mark.parametrize("setup", ["SD"], indirect=True)
def test_diffusion_models(setup):
    """DDIM's noise at the call's eta; at its default there is none to choose among."""
    (own,) = in_its_own_loop(setup, "rbf:warm_up=3", LatentScore(setup.pipe, Brightness(), "a cat"))
    (visited,) = setup.pipe.scheduler.visited
    finished = [one.score for one in visited if one.node.finished]
    assert len(set(finished)) == len(finished) > 1, "siblings differ by the noise of the step before"
    assert setup.pipe.scheduler.best[0].score == max(finished) == pytest.approx(own.mean(), abs=3e-3)
    with pytest.raises(ValueError, match="draws none"):
        in_its_own_loop(setup, "rbf", scripted(SCRIPT), eta=0.0)


def test_the_pipelines_own_bar_counts_model_calls_and_latents_are_the_images(setup):
    bars = []

    def progress_bar(original, *args, **kwargs):
        bars.append(original(*args, **kwargs))
        return bars[-1]

    before = dict(setup.pipe._progress_bar_config)
    setup.pipe.set_progress_bar_config(file=io.StringIO())  # a bar that is disabled counts nothing
    with shadowed(setup.pipe, "progress_bar", progress_bar):
        latents = in_its_own_loop(setup, "svdd", scripted(SCRIPT), output_type="latent")
    setup.pipe.set_progress_bar_config(**before)
    assert (bars[0].n, bars[0].total) == (CALLS, CALLS)
    _, image = by_hand(setup, "svdd")
    decoder = Evaluator(PipelineCall(setup.pipe, {**setup.arguments, "num_inference_steps": STEPS})).rows.decoder
    assert levels(decoder(["a cat"], latents)[0][0] / 255, image) <= 1


def test_each_row_is_a_search_of_its_own(setup):
    """Images of one prompt side by side are those of runs alone; at different times, by the row-times hook."""
    scripts = [SCRIPT, SCRIPT[::-1]]
    seeds = [SEED, SEED + 100_000]
    alone = [by_hand(setup, "rbf:warm_up=1", script, seed) for script, seed in zip(scripts, seeds, strict=True)]
    with pytest.raises(ValueError, match="apply_per_sample_time"):
        in_its_own_loop(setup, "rbf:warm_up=1", scripted(*scripts), seeds, num_images_per_prompt=2)
    scheduler = setup.pipe.scheduler
    hook = apply_per_sample_time(setup.pipe, scheduler)
    scheduler.steer_by("rbf:warm_up=1", scripted(*scripts), SEED)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    call = {**setup.arguments, "num_inference_steps": CALLS, "num_images_per_prompt": 2}
    images = setup.pipe("a cat", generator=generators, output_type="np", **call).images
    hook.remove()
    for image, visited, (ids, expected) in zip(images, scheduler.visited, alone, strict=True):
        assert [one.node.id for one in visited] == ids
        assert levels(image, expected) <= 1


def test_a_strategy_that_stops_early_leaves_its_best_image(setup):
    class First(Svdd):
        @property
        def done(self):
            return any(node.finished for node, _ in self.observed)

    (own,) = in_its_own_loop(setup, First(children=2), scripted(SCRIPT))
    scheduler = setup.pipe.scheduler
    (visited,) = scheduler.visited
    assert scheduler.done
    assert visited[-1].node.finished
    assert visited[-1].calls == 1 + 2 + 2 + 1 < CALLS
    again = Evaluator(PipelineCall(setup.pipe, {**setup.arguments, "num_inference_steps": STEPS}))
    setup.pipe.scheduler = setup.scheduler
    assert levels(own, again.make("a cat", [visited[-1].node]).images[0]) <= 1


@pytest.mark.parametrize(
    ("strategy", "score", "arguments", "message"),
    [
        ("svdd", lambda x, rows: [float("nan")], {}, r"gave \[nan\]; give numbers"),
        ("svdd", lambda x, rows: [1.0, 2.0], {}, "one number for each row"),
        ("svdd", scripted(SCRIPT), {"num_inference_steps": STEPS - 1}, "one path of 4 steps makes 4"),
        ("svdd", scripted(SCRIPT), {"sigmas": [1.0, 0.7, 0.2, 0.1]}, "leave them out"),
        ("zero-order", scripted(SCRIPT), {}, "use NoiseSearch"),
        ("sop:back=1,on=2", scripted(SCRIPT), {}, "goes back to a noisier step"),
        ("svdd", LatentScore(None, Brightness(), ["a cat"]), {"num_images_per_prompt": 2}, "2 rows and 1 prompts"),
    ],
)
def test_what_is_refused(setup, strategy, score, arguments, message):
    rows = arguments.get("num_images_per_prompt", 1)
    with pytest.raises(ValueError, match=message):
        in_its_own_loop(setup, strategy, score, range(rows), **arguments)


def test_schedulers_that_are_refused(setups):
    with pytest.raises(ValueError, match="smc chooses among the noises of steps, and FlowSDEScheduler draws none"):
        SteeredScheduler.from_scheduler(FlowSDEScheduler(), "smc", scripted(SCRIPT))
    with pytest.raises(ValueError, match="neither a flow's scheduler nor a diffusion's"):
        SteeredScheduler.from_scheduler(VQDiffusionScheduler(num_vec_classes=8))
    for kind, message in (
        (FlowMatchEulerDiscreteScheduler, "draws none"),
        (DPMSolverMultistepScheduler, "keeps a history"),
    ):
        flow = (
            {}
            if kind is FlowMatchEulerDiscreteScheduler
            else {
                "prediction_type": "flow_prediction",
                "use_flow_sigmas": True,
                "flow_shift": 3.0,
            }
        )
        setup = Setup(setups["SD3"].pipe, kind(**flow), {"height": 32, "width": 32, "max_sequence_length": 4})
        with pytest.raises(ValueError, match=message):
            in_its_own_loop(setup, "svdd", scripted(SCRIPT))
