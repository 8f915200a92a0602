import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from samplesmith.samplers import TimeShiftScheduler
from samplesmith.samplers.variance_match import forward_variance, matching_times, row_variances


def test_the_batch_shares_the_least_mean_squared_mismatch():
    table = torch.linspace(0.1, 1.0, 91)
    rows = torch.tensor([0.3, 0.5])
    assert table[matching_times(rows, table, shared=True)].tolist() == pytest.approx([0.4, 0.4])
    assert table[matching_times(rows, table, shared=False)].tolist() == pytest.approx([0.3, 0.5])


def test_unbiased_variance():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 2.0]])
    assert row_variances(x).tolist() == pytest.approx([5 / 3, 1.0])


def test_flow_forward_variance():
    table = forward_variance(FlowMatchEulerDiscreteScheduler(), 0.25)
    assert table[500].item() == pytest.approx(0.25 * 0.25 + 0.25)
    assert len(table) == 1001


def bimodal_noise(x, alpha_bar):
    """Exact noise prediction for independent elements of +-0.5 with deviation 0.1 (variance 0.26)."""
    alpha, noise = alpha_bar.sqrt(), 1 - alpha_bar
    variance = alpha_bar * 0.01 + noise
    center = 2 * torch.sigmoid(alpha * x / variance) - 1
    x0 = 0.5 * center + alpha * 0.01 / variance * (x - 0.5 * alpha * center)
    return (x - alpha * x0) / noise.sqrt()


def wasserstein_to_bimodal(scheduler, seed, error=0.05, steps=10, rows=8, elements=1024):
    """Wasserstein-1 of the elements of samples made with a noise prediction that is `error` too large."""
    scheduler.set_timesteps(steps)
    scheduler.per_sample = True
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, elements, generator=generator)
    alphas = DDIMScheduler().alphas_cumprod
    for t in scheduler.timesteps:
        shifted = getattr(scheduler, "row_times", None)
        times = t.expand(rows) if shifted is None else shifted
        x = scheduler.step((1 + error) * bimodal_noise(x, alphas[times][:, None]), t, x, return_dict=False)[0]
    signs = torch.randint(0, 2, (x.numel(),), generator=generator) - 0.5
    truth = signs + 0.1 * torch.randn(x.numel(), generator=generator)
    return (x.flatten().sort()[0] - truth.sort()[0]).abs().mean().item()


def test_it_helps_where_the_score_is_known():
    """Methods' toy: the gain over the plain solver is real at data_variance 0, and larger with the data's own."""
    plain = DDIMScheduler(clip_sample=False)
    paper = TimeShiftScheduler.from_scheduler(plain, window=160, cutoff=100)
    informed = TimeShiftScheduler.from_scheduler(plain, window=160, cutoff=100, data_variance=0.26)
    distances = torch.tensor([[wasserstein_to_bimodal(s, seed) for s in (plain, paper, informed)] for seed in range(8)])
    gains = distances[:, :1] - distances[:, 1:]
    low = gains.mean(0) - 2.4 * gains.std(0) / len(gains) ** 0.5  # 95 % of Student's t with 7 degrees of freedom
    assert (low > 0).all(), (distances.mean(0), low)
    relative = gains.mean(0) / distances[:, 0].mean()
    assert relative[0] > 0.05
    assert relative[1] > 0.25
