"""The scheduler of ours that makes any pipeline's steps draw noise."""

import pytest
from diffusers import DPMSolverMultistepScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from samplesmith import DiffusionSDEScheduler, FlowSDEScheduler, TimeShiftScheduler
from samplesmith.samplers.by_name import make_scheduler
from samplesmith.samplers.stochastic import stochastic


def test_it_fits_the_pipelines_own():
    flow = stochastic(FlowMatchEulerDiscreteScheduler(shift=3.0))
    assert (type(flow), flow.config.integrator, flow.config.shift) == (FlowSDEScheduler, "precise", 3.0)
    flows = stochastic(DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True))
    assert type(flows) is FlowSDEScheduler
    noise = make_scheduler("stochastic:integrator=cps:eta=0.5", DPMSolverMultistepScheduler(beta_end=0.01))
    assert (type(noise), noise.config.integrator, noise.config.beta_end) == (DiffusionSDEScheduler, "cps:eta=0.5", 0.01)
    assert all(one.is_stochastic for one in (flow, flows, noise))


def test_one_that_draws_noise_is_kept_unless_a_transition_is_named():
    own = FlowSDEScheduler(shift=2.0, diffusion="square", norm=3.0)
    assert stochastic(own) is own
    other = stochastic(own, integrator="glass:inner_steps=4")
    assert (other.config.integrator, other.config.shift, other.order) == ("glass:inner_steps=4", 2.0, 4)
    assert stochastic(FlowSDEScheduler(shift=2.0)).config.integrator == "precise", "an ODE's is not kept"
    shifted = TimeShiftScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler(shift=2.0))
    assert type(stochastic(shifted)) is FlowSDEScheduler


def test_what_has_no_known_path():
    with pytest.raises(ValueError, match="EDMEulerScheduler is neither a linear flow's scheduler nor one with"):
        stochastic(EDMEulerScheduler())
    with pytest.raises(ValueError, match="stochastic has no setting 'norm'; known: integrator, seed"):
        make_scheduler("stochastic:norm=2", FlowMatchEulerDiscreteScheduler())
