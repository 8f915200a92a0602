import pytest
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.flow_transition import flow_transition
from samplesmith.samplers.transitions import CoefficientPreserving, Ddpm, EulerMaruyama, Glass, Heun, Precise

ODE = EulerMaruyama(None, 1.0)
CPS = "cps"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ODE),
        ({"diffusion": "square", "norm": 3.0}, EulerMaruyama("square", 3.0)),
        ({"kind": "sde", "interpolant": "vp"}, EulerMaruyama("square", 1.0, "vp")),
        ({"kind": "ode", "diffusion": "square"}, ODE),
        ({"stochastic_sampling": True}, CoefficientPreserving(1.0)),
        ({"integrator": "heun", "interpolant": "vp"}, Heun("vp")),
        ({"integrator": "ddpm"}, Ddpm()),
        ({"integrator": "ddpm", "kind": "sde"}, Ddpm()),
        ({"integrator": "ddpm", "kind": "ode"}, ODE),
        ({"integrator": "ddpm", "stochastic_sampling": True}, Ddpm()),
        ({"integrator": "precise:eta=0.5"}, Precise(0.5)),
        ({"integrator": "glass:rho=0.4,inner_steps=4"}, Glass(rho=0.4, inner_steps=4)),
        ({"integrator": "cps:eta=0.5"}, CoefficientPreserving(0.5)),
        ({"integrator": CPS, "diffusion": "square", "norm": 0.5}, CoefficientPreserving(0.5)),
        ({"integrator": CPS, "norm": 0.5}, CoefficientPreserving(0.0)),
    ],
    ids=str,
)
def test_settings_name_a_transition(settings, expected):
    scheduler = FlowSDEScheduler(**settings)
    assert flow_transition(scheduler.config) == expected
    assert scheduler.order == expected.model_calls
    assert scheduler.is_stochastic == expected.is_stochastic


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"integrator": "rk4"}, "unknown integrator 'rk4'; known: euler-maruyama, heun"),
        ({"integrator": "glass:steps=4"}, "glass has no setting 'steps'; known: rho, kappa, inner_steps"),
        ({"integrator": "euler-maruyama:norm=2"}, "euler-maruyama has no setting 'norm'; known: none"),
        ({"integrator": "precise", "diffusion": "square"}, "'precise' decides its own noise; drop diffusion='square'"),
        ({"integrator": "cps:eta=0.5", "diffusion": "square"}, "decides its own noise; drop diffusion='square'"),
        ({"integrator": "cps", "norm": 1.5}, "norm is 1.5; with integrator='cps' it is the eta, at most 1"),
        ({"integrator": "precise:eta=-1"}, "eta of precise is -1"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_one_sentence(settings, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        FlowSDEScheduler(**settings)
    assert message in str(error.value)
