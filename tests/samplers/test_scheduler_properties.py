"""What holds for every scheduler of ours at any settings: order of rows, pauses and joins, saving and loading."""

import copy
import functools
import tempfile

import pytest
import torch
from every_scheduler import CHILDREN, FLOWS, PAIRS, WRAPPERS, stock, wrap
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler
from samplesmith.samplers.diffusions import DIFFUSIONS
from scheduler_runs import extra, loop, scaled

few = settings(max_examples=12, deadline=None)
SHAPE = (3, 4, 4)

TRANSITIONS = {
    "heun": {"integrator": "heun"},
    "heun of vp": {"integrator": "heun", "interpolant": "vp", "grid": "vp"},
    "cps": {"integrator": "cps", "diffusion": "square", "norm": 0.5},
    "precise": {"integrator": "precise:eta=0.7"},
    "glass": {"integrator": "glass:inner_steps=3,rho=0.4"},
    "natural vp": {"diffusion": "natural", "interpolant": "vp"},
    "own noise": {"diffusion": "constant", "seed": 7},
}
"""Settings of FlowSDEScheduler beyond those of `WRAPPERS`."""


def noise(seed, rows):
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed))


def draws(seeds):
    return [torch.Generator().manual_seed(100 + seed) for seed in seeds]


def model_of(scheduler):
    """A model that is called at the rows' own times where the scheduler has them."""

    def model(x, t):
        times = getattr(scheduler, "row_times", None)
        t = torch.as_tensor(t if times is None else times, dtype=torch.float32).reshape(-1, 1, 1, 1)
        return (0.2 + 0.6 * t / 1000) * x + 0.1 * torch.sin(3 * x)

    return model


@functools.cache
def flow_with(name):
    return FlowSDEScheduler.from_scheduler(stock("flow euler"), **TRANSITIONS[name])


def made(wrapper, name):
    return copy.deepcopy(flow_with(name)) if wrapper == "flow" else wrap(wrapper, stock(name))


EVERY = [*PAIRS, *(("flow", name) for name in TRANSITIONS)]


@pytest.mark.parametrize(("wrapper", "name"), [pair for pair in EVERY if pair != ("flow", "own noise")])
@given(order=st.permutations(range(4)), seed=st.integers(0, 9), steps=st.integers(4, 9))
@settings(max_examples=4, deadline=None)
def test_rows_permuted_give_rows_permuted(wrapper, name, order, seed, steps):
    """Bit for bit, each row with its own generator; with a time shift, each at its own time."""
    results = []
    for rows in (list(range(4)), order):
        scheduler = made(wrapper, name)
        if wrapper == "shift":
            scheduler.per_sample = True
        x = noise(seed, 4)[rows]
        results.append(loop(scheduler, x, model_of(scheduler), draws(rows), num_inference_steps=steps))
    whole, permuted = results
    assert whole.isfinite().all()
    assert torch.equal(permuted, whole[order])


@st.composite
def programs(draw, rows, steps):
    """Where a run pauses, and how its rows stand in batches after each pause: a list of (step, batches)."""
    cuts = sorted(draw(st.sets(st.integers(1, steps - 1), max_size=3)))
    program = []
    for cut in cuts:
        order = draw(st.permutations(range(rows)))
        ends = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=2)))
        batches = [order[start:end] for start, end in zip([0, *ends], [*ends, rows], strict=True)]
        program.append((cut, batches))
    return program


def advance(batch, steps):
    """Run a batch to its window's end."""
    scheduler, rows, x, generators = batch
    scheduler.set_timesteps(steps)
    if not scheduler.resumes:
        x = x * getattr(scheduler, "init_noise_sigma", 1.0)
    model = model_of(scheduler)
    for t in scheduler.timesteps:
        output = model(scaled(scheduler, x, t), t)
        x = scheduler.step(output, t, x, return_dict=False, **extra(scheduler, generators))[0]
    return scheduler, rows, x, generators


def regrouped(batches, rows):
    """A batch of chosen rows, from wherever they stand."""
    found = {row: (batch, batch[1].index(row)) for batch in batches for row in batch[1]}
    sources = [found[row] for row in rows]
    scheduler = WindowedScheduler.joined([(batch[0], [place]) for batch, place in sources])
    x = torch.stack([batch[2][place] for batch, place in sources])
    generators = [copy.deepcopy(batch[3][place]) for batch, place in sources] if batches[0][3] else None
    return scheduler, list(rows), x, generators


PAUSED = [*((child, None) for child in CHILDREN), *(("flow", name) for name in TRANSITIONS)]


@pytest.mark.parametrize(("child", "name"), PAUSED)
@given(data=st.data(), seed=st.integers(0, 9))
@few
def test_a_run_paused_and_joined_at_random_is_the_whole_run(child, name, data, seed):
    """Bit for bit, whatever batches its rows stood in between."""
    rows, steps = 4, 7
    program = data.draw(programs(rows, steps))
    inner = made("flow", name) if child == "flow" else stock(child)
    own = name == "own noise"  # the scheduler's, not the pipeline's
    everyone = list(range(rows))
    generators = None if own else draws(everyone)
    whole = loop(copy.deepcopy(inner), noise(seed, rows), model_of(inner), None if own else draws(everyone),
                 num_inference_steps=steps)  # fmt: skip

    batches = [(WindowedScheduler.from_scheduler(inner), everyone, noise(seed, rows), generators)]
    start, stops = 0, [cut for cut, _ in program] + [None]
    for stop, groups in zip(stops, [groups for _, groups in program] + [None], strict=True):
        for scheduler, *_ in batches:
            scheduler.set_window(start, stop)
        batches = [advance(batch, steps) for batch in batches]
        if groups is not None:
            batches, start = [regrouped(batches, group) for group in groups], stop
    for _, chosen, x, _ in batches:
        assert torch.equal(x, whole[chosen])


@st.composite
def any_flow_settings(draw):
    kind = draw(st.sampled_from([None, "ode", "sde"]))
    integrator = draw(st.sampled_from(["euler-maruyama", "cps", "heun", "ddpm", "precise:eta=0.4", "glass"]))
    diffusion = draw(st.sampled_from([None, *DIFFUSIONS]))
    if integrator == "heun":
        kind, diffusion = draw(st.sampled_from([None, "ode"])), None
    if integrator not in ("euler-maruyama", "cps"):
        diffusion = None
    return {
        "kind": kind,
        "integrator": integrator,
        "diffusion": diffusion,
        "norm": draw(st.floats(0, 1)),
        "interpolant": draw(st.sampled_from(["linear", "vp"])),
        "grid": draw(st.sampled_from([None, "vp", "log-snr"])),
        "seed": draw(st.integers(0, 2**31)),
        "shift": draw(st.floats(0.5, 6)),
    }


shift_settings = st.fixed_dictionaries(
    {
        "window": st.integers(0, 100),
        "cutoff": st.integers(0, 100),
        "variant": st.sampled_from(["paper", "reference"]),
        "data_variance": st.floats(0, 0.9),
    }
)
windows = st.fixed_dictionaries({"start": st.integers(0, 3), "stop": st.integers(4, 6) | st.none()})


def same_after_loading(scheduler, given_settings, runs=True):
    with tempfile.TemporaryDirectory() as folder:
        scheduler.save_pretrained(folder)
        loaded = type(scheduler).from_pretrained(folder)
    assert type(loaded) is type(scheduler)
    assert {key: loaded.config[key] for key in given_settings} == given_settings
    if runs:
        ends = [
            loop(one, noise(0, 2), model_of(one), draws([0, 1]), num_inference_steps=6) for one in (scheduler, loaded)
        ]
        assert torch.equal(*ends)


@given(any_flow_settings())
@settings(max_examples=60, deadline=None)
def test_a_flow_scheduler_loads_as_it_was_saved(chosen):
    same_after_loading(FlowSDEScheduler(**chosen), chosen)


@pytest.mark.filterwarnings("ignore:the forward variance changes")
@pytest.mark.parametrize("name", ["ddim", "pndm without Runge-Kutta", "dpm++", "euler", "flow euler"])
@given(chosen=shift_settings)
@few
def test_a_time_shift_loads_as_it_was_saved(name, chosen):
    same_after_loading(TimeShiftScheduler.from_scheduler(stock(name), **chosen), chosen)


@pytest.mark.parametrize("name", ["ddim", "dpm++", "heun", "flow euler"])
@given(chosen=windows, shift=shift_settings)
@few
def test_a_window_loads_as_it_was_saved(name, chosen, shift):
    inner = stock(name) if name == "heun" else TimeShiftScheduler.from_scheduler(stock(name), **{**shift, "window": 0})
    same_after_loading(WindowedScheduler.from_scheduler(inner, **chosen), chosen, runs=chosen["start"] == 0)


def test_every_public_scheduler_has_these_properties():
    assert {cls for cls, _ in WRAPPERS.values()} == {FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler}
    assert set(FLOWS) <= set(CHILDREN)
