import torch
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear
from samplesmith.training.distillation import tsm


def test_the_minimum_over_affine_students_is_the_affine_teacher():
    """Of one Gaussian the exact denoiser is affine in x_t: least squares finds its two coefficients."""
    data = Mixture([[0.7]], 0.5, [1.0])
    teacher = data.denoiser(Linear(), "sample")
    generator, time = torch.Generator().manual_seed(0), 0.4
    x0, _ = data.draw(256, generator)
    t = torch.full((256,), time, dtype=torch.float64)
    x_t = teacher.noised(x0, torch.randn(x0.shape, generator=generator, dtype=torch.float64), t)
    wanted = teacher.output(x_t, t, {})

    coefficients = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=50)

    def loss():
        optimizer.zero_grad()
        value = tsm.loss(coefficients[0] + coefficients[1] * x_t, wanted)
        value.backward()
        return value

    optimizer.step(loss)
    alpha, variance = 1 - time, (0.6 * 0.5) ** 2 + 0.4**2
    slope = alpha * 0.25 / variance
    exact = torch.tensor([0.7 - slope * alpha * 0.7, slope], dtype=torch.float64)
    assert torch.allclose(coefficients, exact, atol=1e-6)
    assert tsm.loss(coefficients[0] + coefficients[1] * x_t, wanted) < 1e-9


def test_weights_are_of_rows_and_the_teacher_is_left_alone():
    student = torch.zeros(2, 3, requires_grad=True)
    teacher = torch.tensor([[1.0, 1, 1], [2, 2, 2]], requires_grad=True)
    loss = tsm.loss(student, teacher, torch.tensor([2.0, 0.5]))
    loss.backward()
    assert loss.item() == (2 * 1 + 0.5 * 4) / 2
    assert teacher.grad is None
