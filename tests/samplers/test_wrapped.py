"""Schedulers around a child are, for everyone who looks, the child: its class, its state, its later changes."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import samplesmith
import torch
import wrapped_runs
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UnCLIPScheduler,
)
from diffusers.configuration_utils import FrozenDict
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler
from samplesmith.samplers.wrapped import innermost
from wrapped_runs import SD, WRAPS, every_wrap, loop, pair, unshifted, whole


def nested():
    return WindowedScheduler.from_scheduler(
        TimeShiftScheduler.from_scheduler(DDIMScheduler(clip_sample=False), window=60, cutoff=100), stop=3
    )


class TestClass:
    def test_it_is_ours_and_the_childs(self):
        scheduler = nested()
        for kind in (WindowedScheduler, TimeShiftScheduler, DDIMScheduler):
            assert isinstance(scheduler, kind)
        assert not isinstance(scheduler, EulerDiscreteScheduler)
        assert type(scheduler.child).__name__ == "TimeShiftScheduler"
        assert isinstance(scheduler.child, TimeShiftScheduler)
        assert not isinstance(scheduler.child, WindowedScheduler)
        assert type(scheduler.child.child) is type(innermost(scheduler)) is DDIMScheduler

    def test_the_constructor_makes_it_too(self):
        for made in (TimeShiftScheduler("euler"), WindowedScheduler(child_class="EulerDiscreteScheduler")):
            assert isinstance(made, EulerDiscreteScheduler)
            assert made.config.num_train_timesteps == 1000
        assert type(TimeShiftScheduler("euler")) is type(unshifted(EulerDiscreteScheduler()))

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_a_copy_goes_on_alone_from_where_it_was_made(self, again):
        scheduler = nested()
        loop(scheduler)
        copied = again(scheduler)
        assert type(copied) is type(scheduler)
        assert copied.config == scheduler.config
        for one in (scheduler, copied):
            one.set_window(3)
        assert torch.equal(scheduler.timesteps, copied.timesteps)
        x, output = pair()
        scheduler.set_timesteps(4)
        t = scheduler.timesteps[0]
        expected = scheduler.step(output, t, x)[0]
        with pytest.raises(ValueError, match="stands at step 4"):
            scheduler.set_timesteps(4)
        copied.set_timesteps(4)  # its own run is where it was
        assert torch.equal(copied.step(output, copied.timesteps[0], x)[0], expected)

    @every_wrap
    def test_compatible_classes_are_the_childs(self, wrap):
        scheduler = wrap(DDIMScheduler())
        assert scheduler.compatibles == DDIMScheduler().compatibles
        assert EulerDiscreteScheduler in scheduler.compatibles

    @every_wrap
    def test_private_names_that_pipelines_use_are_there(self, wrap):
        """As LEdits++ and Cosmos call them."""
        ddim, stock = wrap(DDIMScheduler(**SD)), DDIMScheduler(**SD)
        assert torch.equal(ddim._get_variance(801, 601), stock._get_variance(801, 601))
        flow, stock = wrap(FlowMatchEulerDiscreteScheduler()), FlowMatchEulerDiscreteScheduler()
        x, output = pair()
        for one in (flow, stock):
            one.set_timesteps(4)
            one._init_step_index(one.timesteps[1])
        assert torch.equal(flow.step(output, flow.timesteps[1], x)[0], stock.step(output, stock.timesteps[1], x)[0])
        assert flow.index_for_timestep(flow.timesteps[3]) == 3

    def test_what_a_property_does_not_find_is_what_the_error_names(self):
        scheduler = whole(DDIMScheduler())
        del vars(scheduler)["timesteps"]
        for name in ("num_steps", "timesteps"):
            with pytest.raises(AttributeError, match="no attribute 'timesteps'"):
                getattr(scheduler, name)
        for wrap in WRAPS.values():
            scheduler = wrap(UnCLIPScheduler())
            assert not hasattr(scheduler, "sigmas")
            with pytest.raises(AttributeError, match="no attribute 'order'"):
                _ = scheduler.order
            with pytest.raises(AttributeError, match="'nowhere'"):
                _ = scheduler.nowhere

    def test_a_method_on_the_instance_is_not_lost_unsaid(self):
        stock = DDIMScheduler()
        stock.step = lambda *args, **kwargs: None
        with pytest.raises(ValueError, match="step of the DDIMScheduler was replaced on the instance"):
            unshifted(stock)


class TestConfig:
    @every_wrap
    @pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler])
    def test_every_setting_of_the_child_is_there(self, wrap, kind):
        """Pipelines read settings that nobody gave: `num_train_timesteps`, `base_shift`."""
        stock, scheduler = kind(), wrap(kind())
        for name, value in stock.config.items():
            if not name.startswith("_"):
                assert scheduler.config[name] == value
        assert scheduler.config.num_train_timesteps == 1000

    @every_wrap
    def test_it_never_disagrees_with_the_childs(self, wrap):
        scheduler = wrap(DDIMScheduler())
        scheduler.register_to_config(steps_offset=1)
        scheduler._internal_dict = FrozenDict({**scheduler.config, "clip_sample": False})
        scheduler.child.register_to_config(set_alpha_to_one=False)
        for one in (scheduler, scheduler.child, innermost(scheduler)):
            assert (one.config.steps_offset, one.config.clip_sample, one.config.set_alpha_to_one) == (1, False, False)

    def test_the_class_of_the_child_is_not_changed_by_a_setting(self):
        scheduler = nested()
        for settings in ({"solver": "euler"}, {"child_class": "DDIMScheduler"}):
            with pytest.raises(ValueError, match=r"the child is a .*; to have another, use .*from_scheduler"):
                scheduler.register_to_config(**settings)
        scheduler.register_to_config(solver="ddim", child_class="TimeShiftScheduler", window=20)
        assert scheduler.child.config.window == 20

    def test_wrapping_another_class_takes_what_both_know(self):
        stock = EulerDiscreteScheduler(1000, **SD, steps_offset=1)
        made = TimeShiftScheduler.from_scheduler(stock, solver="ddim", window=10, clip_sample=False)
        assert isinstance(made, DDIMScheduler)
        config = made.child.config
        assert (config.beta_end, config.steps_offset, config.clip_sample, config.window) == (0.012, 1, False, 10)
        with pytest.raises(ValueError, match="unknown eta"):
            TimeShiftScheduler.from_scheduler(stock, eta=1.0)

    def test_configs_go_from_class_to_class_both_ways(self):
        scheduler = nested()
        for kind in (DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler):
            made = kind.from_config(unshifted(EulerDiscreteScheduler(**SD)).config)
            assert type(made) is kind
            assert made.config.beta_end == 0.012
        shift = TimeShiftScheduler.from_config(scheduler.config)
        assert (type(shift.child), shift.config.window, shift.config.clip_sample) == (DDIMScheduler, 60, False)
        windowed = WindowedScheduler.from_config(scheduler.config)
        assert (type(windowed), windowed.config.stop) == (type(scheduler), 3)
        around = WindowedScheduler.from_config(shift.config, stop=2)
        assert isinstance(around.child, TimeShiftScheduler)
        assert (around.config.stop, around.config.window) == (2, 60)

    def test_wrapping_anew_keeps_our_settings(self):
        first = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=60, cutoff=100)
        again = TimeShiftScheduler.from_scheduler(first, cutoff=200)
        assert (type(again.child), again.config.window, again.config.cutoff) == (DDIMScheduler, 60, 200)
        with pytest.raises(ValueError, match="inside of WindowedScheduler cannot be wrapped again"):
            TimeShiftScheduler.from_scheduler(whole(first))


FRESH = """
import json, pickle, sys, torch
from samplesmith.samplers import TimeShiftScheduler, WindowedScheduler
sys.path.insert(0, {folder!r})
from wrapped_runs import loop
found = {{}}
for name, kind in (("shift", TimeShiftScheduler), ("nested", WindowedScheduler), ("sde", WindowedScheduler)):
    loaded = kind.from_pretrained({tmp!r} + "/" + name)
    with open({tmp!r} + "/" + name + ".pickle", "rb") as file:
        unpickled = pickle.load(file)
    found[name] = [loop(loaded).tolist(), loop(unpickled).tolist(), type(unpickled) is type(loaded)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_saved_and_pickled_they_run_in_a_fresh_process(tmp_path):
    made = {
        "shift": TimeShiftScheduler.from_scheduler(EulerDiscreteScheduler(1000, **SD), window=60, cutoff=100),
        "nested": nested(),
        "sde": WindowedScheduler.from_scheduler(FlowSDEScheduler(shift=3.0, diffusion="square", seed=4), stop=3),
    }
    for name, scheduler in made.items():
        scheduler.save_pretrained(tmp_path / name)
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(scheduler))
    paths = [str(Path(samplesmith.__file__).parents[1]), *(path for path in sys.path if path)]
    code = FRESH.format(folder=str(Path(wrapped_runs.__file__).parent), tmp=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for name, scheduler in made.items():
        expected = loop(scheduler)
        loaded, unpickled, same_class = found[name]
        assert same_class
        assert torch.equal(torch.tensor(loaded), expected)
        assert torch.equal(torch.tensor(unpickled), expected)


def _shifted(shift):
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_shift(shift)
    return scheduler


def _registered(make, **settings):
    scheduler = make()
    scheduler.register_to_config(**settings)
    return scheduler


def _other_betas():
    scheduler = DDIMScheduler()
    scheduler.alphas_cumprod = scheduler.alphas_cumprod**1.2
    return scheduler


CHANGED = {
    "set_shift": lambda: _shifted(7.0),
    "positional arguments of a flow": lambda: FlowMatchEulerDiscreteScheduler(1000, 7.0),
    "a registered shift": lambda: _registered(FlowMatchEulerDiscreteScheduler, shift=7.0),
    "positional arguments of a diffusion": lambda: DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear"),
    "registered settings": lambda: _registered(DDIMScheduler, clip_sample=False, steps_offset=1),
    "a registered spacing": lambda: _registered(EulerDiscreteScheduler, timestep_spacing="trailing"),
    "a replaced table": _other_betas,
}
"""Schedulers whose state is not what their class makes of the settings that were given by name."""

FLOWS = ["set_shift", "positional arguments of a flow", "a registered shift"]


class TestState:
    @every_wrap
    @pytest.mark.parametrize("name", CHANGED)
    def test_what_was_changed_before_wrapping_is_taken_over(self, wrap, name):
        stock = CHANGED[name]()
        assert torch.equal(loop(wrap(stock)), loop(stock))
        # A flow's step reads the shift that it was made with, so that a registered one is without effect, as stock.
        assert torch.equal(loop(stock), loop(type(stock)())) == (name == "a registered shift")

    @pytest.mark.parametrize("name", FLOWS)
    def test_the_ode_takes_it_over_too(self, name):
        assert torch.equal(loop(FlowSDEScheduler.from_scheduler(CHANGED[name]())), loop(CHANGED[name]()))

    @every_wrap
    @pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler])
    def test_what_is_written_afterwards_reaches_the_childs_steps(self, wrap, kind):
        def change(scheduler):
            if kind is FlowMatchEulerDiscreteScheduler:
                scheduler.set_shift(5.0)
            elif kind is DDIMScheduler:
                scheduler.alphas_cumprod = scheduler.alphas_cumprod**1.2
                scheduler.register_to_config(clip_sample=False)
            else:
                scheduler.register_to_config(timestep_spacing="trailing")
            return scheduler

        assert torch.equal(loop(change(wrap(kind()))), loop(change(kind())))
        assert not torch.equal(loop(change(kind())), loop(kind()))

    @every_wrap
    def test_the_scheduler_that_was_wrapped_is_left_alone(self, wrap):
        stock = DPMSolverMultistepScheduler()
        stock.set_timesteps(3)
        before = copy.deepcopy(vars(stock))
        loop(wrap(stock))
        assert stock.config == before["_internal_dict"]
        assert torch.equal(stock.timesteps, before["timesteps"])
        assert stock.step_index is None

    @every_wrap
    @pytest.mark.parametrize("pipeline", [StableDiffusionPipeline, StableDiffusionImg2ImgPipeline])
    def test_a_pipeline_corrects_a_default_scheduler_through_us(self, wrap, pipeline):
        parts = dict.fromkeys(["vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor"])

        def corrected(scheduler):
            return pipeline(**parts, scheduler=scheduler, requires_safety_checker=False).scheduler

        stock = corrected(DDIMScheduler(**SD))
        expected = loop(stock)
        assert stock.timesteps.tolist() == [751, 501, 251, 1]
        for scheduler in (corrected(wrap(DDIMScheduler(**SD))), wrap(stock)):
            assert (scheduler.config.clip_sample, scheduler.config.steps_offset) == (False, 1)
            assert innermost(scheduler).config.clip_sample is False
            assert torch.equal(loop(scheduler), expected)
            assert scheduler.timesteps.tolist() == [751, 501, 251, 1]
