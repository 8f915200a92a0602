"""What holds for every transition, whatever its formula."""

import pytest
import torch
from samplesmith.samplers.interpolants import Linear, NoiseRatio
from samplesmith.samplers.transitions import TRANSITIONS, transition
from transitions import affine_steps

STEPS = 6
EVERY = [
    "euler-maruyama:norm=0.8",
    "euler-maruyama:norm=0.8,interpolant=vp",
    "heun",
    "heun:interpolant=vp",
    "ddpm",
    "precise:eta=0.8",
    "cps:eta=0.8",
    "glass:inner_steps=1",
    "glass:inner_steps=3",
    "glass:inner_steps=4,rho=0.4",
    "glass:inner_steps=2,rho=1",
    "glass:inner_steps=3,kappa=0.5",
]
PATHS = {"flow": Linear(), "diffusion": NoiseRatio()}
spec_of = pytest.mark.parametrize("spec", EVERY)
path_of = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def along(spec, path=PATHS["flow"]):
    """Transition, kernels and the times of the calls."""
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    if path is PATHS["diffusion"]:
        times = 10 * times  # sigma / alpha
    made = transition(spec)
    return made, made.along(times, path), made.call_times(times, path)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def tables(kernels):
    return {name: table for name, table in vars(kernels).items() if name != "inner_steps"}


def test_every_name_is_tried():
    assert {spec.partition(":")[0] for spec in EVERY} == set(TRANSITIONS)


@path_of
@spec_of
def test_its_numbers_are_formed_in_float64_for_each_model_call(spec, path):
    _, kernels, times = along(spec, path)
    found = tables(kernels)
    assert {table.shape for table in found.values()} == {(len(times) - 1,)}
    assert {table.dtype for table in found.values()} == {torch.float64}
    assert all(table.isfinite().all() for table in found.values())
    assert {table.dtype for table in tables(kernels.to("cpu")).values()} == {torch.float32}


@spec_of
def test_noise_is_added_where_steps_begin_and_in_the_last_only_from_the_posterior(spec):
    made, kernels, _ = along(spec)
    noisy = kernels.std > 0
    assert noisy.any() == made.is_stochastic
    assert not any(noisy[call] for call in range(len(noisy)) if call % made.model_calls)
    assert noisy[:: made.model_calls].tolist() == [step < kernels.noisy_steps for step in range(STEPS)]
    samples_the_posterior = spec.startswith("glass") and made.model_calls > 1
    assert kernels.noisy_steps == (STEPS if samples_the_posterior else STEPS - 1 if made.is_stochastic else 0)


@path_of
@pytest.mark.parametrize("spec", [spec for spec in EVERY if "interpolant=vp" not in spec])
def test_the_exact_predictions_of_one_point_lead_to_it(spec, path):
    """With data that is one point, x0 is it and eps follows: at every model call but noise's, and the end is x0.

    Not along the clock of VP, whose lines are no straight ones.
    """
    made, kernels, times = along(spec, path)
    point, x, kept = torch.tensor([[0.3, -0.7]], dtype=torch.float64), drawn(1, 2), ()
    for call, (alpha, sigma) in enumerate(zip(path.alpha(times), path.sigma(times), strict=True)):
        if call == len(times) - 1:
            break
        assert not kept or call % made.model_calls
        x, _, kept = kernels.step(call, x, point, (x - alpha * point) / sigma, kept=kept)
        assert kept or (call + 1) % made.model_calls == 0 or call == len(times) - 2
    torch.testing.assert_close(x, point, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [spec for spec in EVERY if "euler" not in spec and "heun" not in spec])
def test_a_path_of_the_same_noise_ratios_is_the_same_transition(spec):
    """These know no path but by alpha and sigma, so a sample that is scaled goes the same way, scaled.

    Not with inner steps, whose noise has the samples' own unit: they come the closer the more there are.
    """
    flow, diffusion = PATHS.values()
    times = torch.linspace(0.95, 0.05, STEPS + 1, dtype=torch.float64)
    made, ratios = transition(spec), times / (1 - times)
    ends = [affine_steps(made, t, path, 0.3, 0.5) for t, path in ((times, flow), (ratios, diffusion))]
    scale = diffusion.alpha(ratios) / (1 - times)
    atol = 1e-12 if made.model_calls == 1 else 0.02
    for step, (one, other) in enumerate(zip(*ends, strict=True)):
        assert other[0] * scale[step] == pytest.approx(one[0] * scale[step + 1].item(), abs=atol)
        assert abs(other[1]) == pytest.approx(abs(one[1] * scale[step + 1].item()), abs=atol)


@spec_of
def test_rows_may_stand_at_calls_of_their_own(spec):
    """Each as alone, bit for bit, with what the call before left of it; nothing that was given is changed."""
    made, kernels, times = along(spec)
    calls = len(times) - 1
    x, x0, eps, z = drawn(4, calls, 2, 3).unbind()
    kept = tuple(drawn(2, calls, 2, 3).neg().unbind()[: len(kernels.step(0, x, x0, eps).kept)])
    order = torch.arange(calls - 1, -1, -1)
    given = [one.clone() for one in (x, x0, eps, z, *kept)]
    together = kernels.step(order, x, x0, eps, z, kept)
    assert all(map(torch.equal, given, (x, x0, eps, z, *kept)))
    for row, call in enumerate(order.tolist()):
        own = [one[row : row + 1] for one in (x, x0, eps, z)]
        left = tuple(one[row : row + 1] for one in kept) if call % made.model_calls else ()
        alone = kernels.step(call, *own, left)
        assert torch.equal(together.sample[row : row + 1], alone.sample)
        for one, other in zip(together.kept, alone.kept, strict=False):
            assert torch.equal(one[row : row + 1], other)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("euler", "unknown integrator 'euler'; known: euler-maruyama, heun, ddpm, precise, cps, glass"),
        ("ddpm:eta=1", "ddpm has no setting 'eta'; known: none"),
        ("precise:eta=-1", "eta of precise is -1; give at least 0"),
        ("cps:eta=1.5", "eta of cps is 1.5; give at least 0 and at most 1"),
        ("glass:rho=1.5", "rho of glass is 1.5; give 0 to 1"),
        ("glass:kappa=-1", "kappa of glass is -1; give at least 0"),
        ("glass:inner_steps=0", "inner_steps of glass is 0; give at least 1"),
        ("glass:inner_steps=2.5", "glass has inner_steps=2.5; give a whole number"),
        ("heun:interpolant=cosine", "unknown interpolant 'cosine'; known: linear, vp"),
        ("euler-maruyama:diffusion=cubic", "unknown diffusion 'cubic'; known: None, square"),
        ("euler-maruyama:norm=-1", "norm is -1; give at least 0"),
    ],
)
def test_bad_settings_are_one_sentence(spec, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        transition(spec)
    assert message in str(error.value)
