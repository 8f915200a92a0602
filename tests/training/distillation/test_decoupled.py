import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear
from samplesmith.training.distillation import decoupled, dm

WORLD = Mixture([[-1.0, 0.0], [1.0, 0.5]], 0.3, [0.4, 0.6])


@settings(deadline=None, max_examples=30)
@given(time=st.floats(0.05, 0.95), scale=st.floats(0, 9), seed=st.integers(0, 99))
def test_its_two_parts_at_one_noise_are_dmd_with_a_guided_teacher(time, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x, labels = WORLD.draw(16, generator)
    t = torch.full((16,), time, dtype=torch.float64)
    teacher = WORLD.denoiser(Linear(), "velocity")
    x_t = teacher.noised(x, torch.randn(x.shape, generator=generator, dtype=torch.float64), t)
    fake = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(16, generator=generator, dtype=torch.float64)
    condition, null = {"class_labels": labels}, {"class_labels": torch.full_like(labels, WORLD.null)}

    guided = teacher.read(teacher.guided(x_t, t, condition, null, scale), x_t, t).x0
    halves = [teacher.read(half, x_t, t).x0 for half in teacher.halves(x_t, t, condition, null)]
    parts = dm.gradient(fake, halves[0], weights) + decoupled.augmentation(*halves, scale, weights)
    assert torch.allclose(parts, dm.gradient(fake, guided, weights), atol=1e-9)


def test_the_augmentation_takes_times_below_the_students_step():
    draws, steps = torch.rand(500, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 0.6, 0.3, 0.001])
    for step in steps:
        shares = decoupled.less_noisy(draws, 0.02, 0.98, step.expand(500))
        assert shares.min() >= 0.02
        assert shares.max() <= max(min(step.item(), 0.98), 0.02) + 1e-6
    assert shares.std() < 1e-6  # no room below a step that is cleaner than the range
