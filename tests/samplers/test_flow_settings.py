"""What FlowSDEScheduler takes over from other schedulers of flows, in whatever words and however they were set."""

import copy

import pytest
import torch
import toys
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler, interpolants

STEPS = 5
SOLVERS = [
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    UniPCMultistepScheduler,
    DEISMultistepScheduler,
    SASolverScheduler,
]
PREDICTS_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def pair():
    return torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(0)).unbind()


def follow(scheduler, seed=0, **times):
    scheduler.set_timesteps(**(times or {"num_inference_steps": STEPS}))
    x, _ = pair()
    for t in scheduler.timesteps:
        (x,) = scheduler.step(torch.sin(2 * x), t, x, return_dict=False)
    return x


def shift_set():
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_shift(7.0)
    return scheduler


def registered():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.register_to_config(use_dynamic_shifting=False, shift_terminal=0.1)
    return scheduler


CHANGED = {
    "by name": lambda: FlowMatchEulerDiscreteScheduler(shift=7.0),
    "positional": lambda: FlowMatchEulerDiscreteScheduler(1000, 7.0),
    "by a method": shift_set,
    "registered": registered,
}


@pytest.mark.parametrize("how", CHANGED)
@pytest.mark.parametrize(
    "wrap",
    [
        FlowSDEScheduler.from_scheduler,
        lambda child: FlowSDEScheduler.from_scheduler(FlowSDEScheduler.from_scheduler(child)),
        lambda child: FlowSDEScheduler.from_scheduler(TimeShiftScheduler.from_scheduler(child, window=30)),
        lambda child: WindowedScheduler.from_scheduler(FlowSDEScheduler.from_scheduler(child)),
        lambda child: TimeShiftScheduler.from_scheduler(child, window=0),
    ],
)
def test_settings_are_taken_over_however_they_were_made(how, wrap):
    expected = follow(CHANGED[how]())
    assert not torch.equal(expected, follow(FlowMatchEulerDiscreteScheduler()))
    assert torch.equal(follow(wrap(CHANGED[how]())), expected)


def test_what_is_given_wins_over_what_is_taken_over():
    ours = FlowSDEScheduler.from_scheduler(shift_set(), shift=2.0)
    assert torch.equal(follow(ours), follow(FlowMatchEulerDiscreteScheduler(shift=2.0)))
    assert FlowSDEScheduler.from_scheduler(FlowSDEScheduler(norm=0.5), seed=3).config.norm == 0.5


def test_the_original_is_left_alone():
    stock = shift_set()
    before = copy.deepcopy(vars(stock))
    follow(FlowSDEScheduler.from_scheduler(stock, diffusion="square"))
    assert before.keys() == vars(stock).keys()
    assert torch.equal(before["timesteps"], stock.timesteps)
    assert before["_internal_dict"] == stock.config


def test_what_is_registered_later_counts():
    """As pipelines and users do."""
    scheduler = FlowSDEScheduler(shift=3.0)
    scheduler.register_to_config(diffusion="linear", norm=0.5)
    assert scheduler.is_stochastic
    assert torch.equal(follow(scheduler), follow(FlowSDEScheduler(shift=3.0, diffusion="linear", norm=0.5)))
    scheduler.register_to_config(norm=-1.0)
    with pytest.raises(ValueError, match=r"norm is -1\.0"):
        scheduler.set_timesteps(STEPS)


@pytest.mark.parametrize("kind", SOLVERS)
def test_multistep_solvers_of_flows_are_linear_flows(kind, tmp_path):
    """Sana, Wan and others run them; the path, the step and its noise are those of SD3's with the same shift."""
    solver = kind(**PREDICTS_FLOW, flow_shift=3.0)
    assert isinstance(interpolants.from_scheduler(solver), interpolants.Linear)
    expected = FlowSDEScheduler(shift=3.0, diffusion="square", norm=2.0)
    for ours in (
        FlowSDEScheduler.from_scheduler(solver, diffusion="square", norm=2.0),
        FlowSDEScheduler.from_config(solver.config, diffusion="square", norm=2.0),
    ):
        assert torch.equal(follow(ours), follow(expected))
    ours.save_pretrained(tmp_path)
    assert torch.equal(follow(FlowSDEScheduler.from_pretrained(tmp_path)), follow(expected))
    back = kind.from_config(ours.config)
    assert {key: back.config[key] for key in (*PREDICTS_FLOW, "flow_shift")} == {**PREDICTS_FLOW, "flow_shift": 3.0}


@pytest.mark.parametrize("kind", SOLVERS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "is no flow-matching scheduler"),
        ({"prediction_type": "flow_prediction"}, "is no flow-matching scheduler"),
        ({**PREDICTS_FLOW, "use_karras_sigmas": True}, "spaces the sigmas of a diffusion"),
    ],
)
def test_other_settings_of_these_solvers_are_refused_truly(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        FlowSDEScheduler.from_scheduler(kind(**settings))


def test_other_flows_by_their_shift():
    heun = FlowMatchHeunDiscreteScheduler(shift=3.0)
    lcm = FlowMatchLCMScheduler()
    lcm.set_shift(3.0)
    expected = follow(FlowMatchEulerDiscreteScheduler(shift=3.0))
    for scheduler in (heun, lcm):
        assert torch.equal(follow(FlowSDEScheduler.from_scheduler(scheduler)), expected)


@pytest.mark.parametrize("set_later", [False, True])
def test_a_sample_that_grows_between_steps_is_no_flow(set_later):
    lcm = FlowMatchLCMScheduler(scale_factors=None if set_later else [1.0, 2.0])
    if set_later:
        lcm.set_scale_factors([1.0, 2.0], "bicubic")
    with pytest.raises(ValueError, match="enlarges the sample between steps"):
        FlowSDEScheduler.from_scheduler(lcm)


def test_a_flow_that_carries_another_class_s_betas_along_is_one():
    """As after a change of schedulers by `from_config`."""
    flow = FlowMatchEulerDiscreteScheduler.from_config(
        {**EulerDiscreteScheduler(beta_start=0.001).config, "shift": 3.0}
    )
    assert "beta_start" in flow.config
    assert FlowSDEScheduler.from_scheduler(flow).config.shift == 3.0


def test_a_class_with_a_grid_of_its_own_is_refused():
    class Mine(FlowMatchEulerDiscreteScheduler):
        def set_timesteps(self, *args, **kwargs):
            super().set_timesteps(*args, **kwargs)

    class Named(FlowMatchEulerDiscreteScheduler):
        pass

    with pytest.raises(ValueError, match="Mine sets timesteps in its own way"):
        FlowSDEScheduler.from_scheduler(Mine())
    assert torch.equal(follow(FlowSDEScheduler.from_scheduler(Named(shift=3.0))), follow(Named(shift=3.0)))


class TestStochasticSamplingOfTheParent:
    """Noise is the scheduler's own or the given generator's, never the global one's."""

    def step(self, generator=None, **settings):
        scheduler = FlowSDEScheduler.from_scheduler(
            FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True), **settings
        )
        scheduler.set_timesteps(STEPS)
        x, velocity = pair()
        return scheduler, scheduler.step(velocity, scheduler.timesteps[0], x, generator=generator)

    def test_with_a_generator_it_is_the_parents_step(self):
        stock = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
        stock.set_timesteps(STEPS)
        x, velocity = pair()
        expected = stock.step(velocity, stock.timesteps[0], x, generator=torch.Generator().manual_seed(5)).prev_sample
        scheduler, out = self.step(torch.Generator().manual_seed(5))
        assert torch.allclose(out.prev_sample, expected, atol=1e-6)
        assert scheduler.is_stochastic
        assert out.std == pytest.approx(float(stock.sigmas[1]), abs=1e-6)
        assert out.log_prob.isfinite().all()

    def test_without_one_it_repeats_and_leaves_the_global_generator_alone(self):
        state = torch.get_rng_state()
        outs = [self.step()[1].prev_sample for _ in range(2)]
        assert torch.equal(*outs)
        assert not torch.equal(outs[0], self.step(seed=9)[1].prev_sample)
        assert torch.equal(torch.get_rng_state(), state)

    def test_kind_ode_draws_nothing(self):
        scheduler, out = self.step(kind="ode")
        x, velocity = pair()
        stock = FlowMatchEulerDiscreteScheduler(shift=3.0)
        stock.set_timesteps(STEPS)
        assert torch.allclose(out.prev_sample, stock.step(velocity, stock.timesteps[0], x)[0], atol=1e-6)
        assert not scheduler.is_stochastic

    def test_a_diffusion_that_is_asked_for_goes_before(self):
        _, out = self.step(diffusion="linear")
        scheduler = FlowSDEScheduler(shift=3.0, diffusion="linear")
        scheduler.set_timesteps(STEPS)
        x, velocity = pair()
        assert torch.equal(out.prev_sample, scheduler.step(velocity, scheduler.timesteps[0], x).prev_sample)


COSMOS_TIMES = {"sigmas": torch.linspace(0, 1, 8, dtype=torch.float64)}
"""As its pipeline calls the scheduler."""


class TestSigmasFarBeyondOne:
    """Cosmos 2 runs a flow's scheduler from sigma 80, along x_0 + sigma eps."""

    @pytest.fixture
    def stock(self):
        scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
        scheduler.register_to_config(sigma_max=80.0, sigma_min=0.002, sigma_data=1.0, final_sigmas_type="sigma_min")
        return scheduler

    def test_the_path_is_known(self, stock):
        path = interpolants.from_scheduler(stock)
        t = torch.tensor([0.5, 80.0])
        assert path.alpha(t).tolist() == [1.0, 1.0]
        assert torch.equal(path.sigma(t), t)

    def test_the_plain_ode_is_the_parent(self, stock):
        expected = follow(copy.deepcopy(stock), **COSMOS_TIMES)
        for ours in (
            FlowSDEScheduler.from_scheduler(stock),
            TimeShiftScheduler.from_scheduler(stock, window=0),
            WindowedScheduler.from_scheduler(stock),
        ):
            assert torch.equal(follow(ours, **COSMOS_TIMES), expected)

    @pytest.mark.parametrize(
        "settings",
        [
            {"diffusion": "square"},
            {"diffusion": "natural", "interpolant": "vp"},
            {"diffusion": "square", "integrator": "cps", "norm": 0.5},
            {"interpolant": "vp"},
            {"integrator": "heun"},
        ],
        ids=str,
    )
    def test_anything_else_is_refused_when_it_is_made(self, stock, settings):
        with pytest.raises(ValueError, match=r"with sigmas up to 80, along x_0 \+ sigma eps"):
            FlowSDEScheduler.from_scheduler(stock, **settings)

    def test_time_shift_is_refused_when_it_is_made(self, stock):
        with pytest.raises(ValueError, match="runs with sigmas up to 80"):
            TimeShiftScheduler.from_scheduler(stock)

    @pytest.mark.parametrize("make", [lambda: FlowSDEScheduler(diffusion="square"), None])
    def test_what_only_the_run_tells_is_refused_before_its_first_step(self, make):
        """A pipeline that was built around ours, or passes such sigmas."""
        scheduler = make() if make else TimeShiftScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler())
        with pytest.raises(ValueError, match="the sigmas go beyond 1, which no linear flow has"):
            scheduler.set_timesteps(sigmas=[80.0, 10.0, 1.0])
        scheduler.register_to_config(sigma_max=80.0)
        with pytest.raises(ValueError, match="with sigmas up to 80"):
            scheduler.set_timesteps(STEPS)


@pytest.mark.parametrize("settings", [{"integrator": "heun"}, {"diffusion": "natural", "interpolant": "vp"}], ids=str)
def test_a_shift_that_rounds_the_first_sigma_above_one_is_no_other_path(settings):
    shift = 1.9764998705636847
    scheduler = FlowSDEScheduler(shift=shift, **settings)
    assert follow(scheduler).isfinite().all()
    assert 1 < scheduler.sigmas[0] < 1 + 1e-5
    near = FlowSDEScheduler(shift=1.9765, **settings)
    assert torch.allclose(follow(scheduler), follow(near), atol=1e-3)


def test_a_step_before_the_timesteps_are_set_is_the_parents():
    x, velocity = pair()
    stock, ours = FlowMatchEulerDiscreteScheduler(), FlowSDEScheduler()
    expected = stock.step(velocity, stock.timesteps[10], x).prev_sample
    assert torch.equal(ours.step(velocity, ours.timesteps[10], x).prev_sample, expected)
    with pytest.raises(ValueError, match="call set_timesteps before the first step"):
        FlowSDEScheduler(diffusion="square").step(velocity, ours.timesteps[10], x)


def test_the_parents_other_arguments_are_taken_and_do_as_little():
    x, velocity = pair()
    ours = FlowSDEScheduler()
    ours.set_timesteps(STEPS)
    expected = copy.deepcopy(ours).step(velocity, ours.timesteps[0], x, return_dict=False)[0]
    (given,) = ours.step(velocity, ours.timesteps[0], x, 0.0, 0.0, float("inf"), 1.0, return_dict=False)
    assert torch.equal(given, expected)
    assert FlowMatchEulerDiscreteScheduler in ours.compatibles


def test_sana_s_own_scheduler_in_a_pipeline():
    """SD3's pipeline with the scheduler that Sana and Wan have."""
    pipe = toys.build("StableDiffusion3")
    solver = DPMSolverMultistepScheduler(**PREDICTS_FLOW, flow_shift=3.0)
    outs = []
    for scheduler in (solver, FlowSDEScheduler(shift=3.0)):
        pipe.scheduler = FlowSDEScheduler.from_scheduler(scheduler, diffusion="linear")
        _, prompt, arguments = toys.TOYS["StableDiffusion3"]
        call = {**arguments, "num_inference_steps": 3, "generator": torch.Generator().manual_seed(0)}
        outs.append(pipe(prompt, output_type="latent", **call).images)
    assert torch.equal(*outs)
