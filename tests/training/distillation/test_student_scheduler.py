import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from samplesmith.training.distillation.student_scheduler import redraws, student_scheduler, student_times


@pytest.mark.parametrize(
    "teacher",
    [
        DDIMScheduler(),
        DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
    ],
)
def test_a_diffusions_student_begins_within_the_teachers_own_schedule(teacher):
    scheduler = student_scheduler(teacher)
    assert student_times(scheduler, 1) == (399.0,)
    assert student_times(scheduler, 2) == (399.0, 199.0)
    assert redraws(scheduler)
    assert torch.allclose(scheduler.alphas_cumprod, teacher.alphas_cumprod[:400], rtol=1e-4)
    assert scheduler.config.prediction_type == teacher.config.prediction_type
    again = type(scheduler).from_config(scheduler.config)
    assert torch.equal(again.alphas_cumprod, scheduler.alphas_cumprod)


def test_one_step_is_the_clean_prediction():
    teacher = DDIMScheduler()
    scheduler = student_scheduler(teacher)
    scheduler.set_timesteps(1)
    sample, output = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()
    alpha = teacher.alphas_cumprod[399].sqrt()
    made = scheduler.step(output, scheduler.timesteps[0], sample, return_dict=False)[0]
    assert torch.allclose(made, (sample - (1 - alpha**2).sqrt() * output) / alpha, rtol=1e-4, atol=1e-4)


def test_a_flows_last_step_has_something_left_to_do():
    scheduler = student_scheduler(FlowMatchEulerDiscreteScheduler())
    assert student_times(scheduler, 4) == pytest.approx((0.9997, 0.9, 0.75, 0.5), abs=1e-3)
    assert student_times(scheduler, 1) == pytest.approx((1.0,), abs=1e-3)
    assert not redraws(scheduler), "its steps are Euler's"
    even = student_scheduler(FlowMatchEulerDiscreteScheduler(), shift=1.0)
    assert student_times(even, 2)[1] == pytest.approx(0.5, abs=1e-3)


def test_a_share_outside_of_the_schedule_is_refused():
    for first in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"give a share in \(0, 1\]"):
            student_scheduler(DDIMScheduler(), first=first)
