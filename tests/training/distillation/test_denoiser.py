"""One world, read through networks of every kind of prediction and both families of paths."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, KarrasVeScheduler
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear, from_scheduler
from samplesmith.training.distillation.denoiser import Denoiser

WORLD = Mixture([[-1.0, 0.0], [1.0, 0.5]], 0.3, [0.4, 0.6])


def flow():
    return FlowMatchEulerDiscreteScheduler()


def diffusion(kind):
    return lambda: DDIMScheduler(prediction_type=kind)


@pytest.mark.parametrize("build", [flow, *map(diffusion, ("epsilon", "sample", "v_prediction"))])
def test_every_kind_of_teacher_says_the_exact_clean_sample(build):
    scheduler = build()
    read = Denoiser.of(None, scheduler)
    exact = WORLD.denoiser(read.path, read.kind, read.last, read.unit)
    denoiser = read.of_network(exact.network)
    generator = torch.Generator().manual_seed(0)
    x0, labels = WORLD.draw(8, generator)
    t = denoiser.time(torch.linspace(0.1, 0.9, 8, dtype=torch.float64))
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    x_t = denoiser.noised(x0, noise, t)
    found = denoiser.predict(x_t, t, {"class_labels": labels})
    assert torch.allclose(found.x0, WORLD.x0(x_t, denoiser.path.alpha(t), denoiser.path.sigma(t), labels), atol=1e-6)
    assert torch.allclose(denoiser.noised(found.x0, found.eps, t), x_t, atol=1e-6)
    assert torch.allclose(denoiser.read(denoiser.target(x0, noise, t), x_t, t).x0, x0, atol=1e-6)


def test_the_network_gets_times_in_its_own_unit():
    seen = []

    def network(x, timestep, return_dict):
        seen.append(timestep)
        return (torch.cat([x, x], 1),)  # a learned variance

    x, t = torch.ones(2, 3), torch.tensor([0.25, 0.5])
    assert Denoiser.of(network, flow()).output(x, t, {}).shape == x.shape
    assert seen[0].tolist() == [250, 500]
    table = Denoiser.of(network, DDIMScheduler())
    assert table.time(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 500, 999]


def test_sigmas_of_a_diffusion_are_read_as_its_table():
    """Euler's samples are x_0 + sigma eps, its network's are not: distillation stands where the network does."""
    t = torch.tensor([10.0, 900.0])
    assert torch.equal(
        Denoiser.of(None, EulerDiscreteScheduler(beta_schedule="linear", beta_end=0.02)).path.alpha(t),
        from_scheduler(DDIMScheduler()).alpha(t),
    )
    with pytest.raises(ValueError, match="path is not known"):
        Denoiser.of(None, KarrasVeScheduler())


def test_guidance_is_of_outputs_and_needs_a_null_condition():
    teacher = WORLD.denoiser(Linear(), "velocity")
    x, t = torch.ones(3, 2), torch.full((3,), 0.5)
    condition, null = ({"class_labels": torch.full((3,), label)} for label in (0, WORLD.null))
    with_label, without = teacher.output(x, t, condition), teacher.output(x, t, null)
    assert torch.allclose(teacher.guided(x, t, condition, null, 3.0), without + 3 * (with_label - without), atol=1e-5)
    assert torch.equal(teacher.guided(x, t, condition, None, 1.0), with_label)
    with pytest.raises(ValueError, match="guidance scale 3 needs a condition that says nothing"):
        teacher.guided(x, t, condition, None, 3.0)
