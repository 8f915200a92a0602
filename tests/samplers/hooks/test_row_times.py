"""Rows get their own times, wherever and in whatever unit a network takes the time."""

import pytest
import torch
import toys
from diffusers import DDIMScheduler
from fakes import watch
from samplesmith.samplers import TimeShiftScheduler, apply_per_sample_time
from samplesmith.samplers.hooks import RowTimes, attach
from torch import nn


class Source:
    """A scheduler whose rows have known times."""

    def __init__(self, grid, rows):
        self.timesteps, self.rows = torch.tensor(grid), torch.tensor(rows)
        self.begin_index = self.step_index = self.row_times = None
        self.num_inference_steps = len(grid)
        self.per_sample = False

    def __len__(self):
        return 1000

    def step(self):
        self.step_index = (self.step_index or 0) + 1
        self.row_times = self.rows


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.got = []

    def forward(self, sample, timestep=None, guidance=None, timestep_r=None):
        self.got.append((timestep, guidance, timestep_r))
        return sample


def run(network, source, pass_time, calls=3, rows=4, **extra):
    """A pipeline's loop: what the network got in each call."""
    for _ in range(calls):
        t = source.timesteps[source.step_index or 0]
        network(torch.zeros(rows, 2), timestep=pass_time(t), **extra)
        source.step()
    return network.got


GRID, ROWS = [1000.0, 800.0, 600.0, 400.0], [790.0, 810.0]


@pytest.mark.parametrize(
    ("pass_time", "expected"),
    [
        (lambda t: t, ROWS * 2),
        (lambda t: t.expand(4) / 1000, [0.79, 0.81] * 2),
        (lambda t: (1000 - t.expand(4)) / 1000, [0.21, 0.19] * 2),
        (lambda t: float(t), ROWS * 2),
        (lambda t: t.view(1), ROWS * 2),
    ],
)
def test_each_form_of_a_batch_time(pass_time, expected):
    network, source = Network(), Source(GRID, ROWS)
    hook = apply_per_sample_time(network, source)
    got = run(network, source, pass_time, guidance=torch.ones(4))
    assert torch.as_tensor(got[0][0]).flatten()[0] == torch.as_tensor(pass_time(source.timesteps[0])).flatten()[0]
    for call in got[1:]:
        assert call[0].tolist() == pytest.approx(expected)
        assert call[1].tolist() == [1.0] * 4, "a constant that looked like the first time stays"
    assert source.per_sample
    hook.remove()
    assert not source.per_sample
    assert run(network, source, pass_time, calls=1)[-1][0] is not None
    assert torch.as_tensor(network.got[-1][0]).unique().numel() == 1


def test_hooks_of_torch_see_the_times_that_the_network_sees():
    network, source, seen = Network(), Source(GRID, ROWS), []
    network.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs["timestep"]), with_kwargs=True)
    network.register_forward_hook(lambda module, args, kwargs, out: seen.append(kwargs["timestep"]), with_kwargs=True)
    hook = apply_per_sample_time(network, source)
    run(network, source, lambda t: t, calls=2)
    assert [times.tolist() for times in seen[2:]] == [ROWS * 2] * 2
    hook.remove()
    assert len(network._forward_pre_hooks) == 1


def test_a_time_for_each_token_keeps_what_is_not_the_time():
    """Tokens of a picture that is given stand at 0 (Wan 2.2, LTX)."""
    mask = torch.tensor([0.0, 1.0, 1.0])
    network, source = Network(), Source(GRID, ROWS)
    apply_per_sample_time(network, source)
    got = run(network, source, lambda t: (mask * t).expand(2, -1), rows=2)
    assert got[1][0].tolist() == [[0.0, 790.0, 790.0], [0.0, 810.0, 810.0]]


def test_a_second_time_that_is_another_stays():
    """Mean-flow models are told the next time too."""
    network, source = Network(), Source(GRID, ROWS)
    apply_per_sample_time(network, source)
    for _ in range(3):
        index = source.step_index or 0
        now, following = source.timesteps[index].expand(2), source.timesteps[index + 1].expand(2)
        network(torch.zeros(2, 2), timestep=now, timestep_r=following)
        source.step()
    assert network.got[1][0].tolist() == ROWS
    assert network.got[1][2].tolist() == [600.0] * 2


@pytest.mark.parametrize("most_rows", [None, 4])
def test_a_time_that_is_not_understood_is_refused_before_the_first_call(most_rows):
    network, source = Network(), Source(GRID, ROWS)
    apply_per_sample_time(network, source, most_rows)
    with pytest.raises(ValueError, match=r"Network is called with a time that is not understood.*batch_size=1"):
        run(network, source, lambda t: (t / (1000 - t + 7)).sqrt())
    assert network.got == []


def test_a_single_row_needs_no_unit():
    network, source = Network(), Source(GRID, [790.0])
    apply_per_sample_time(network, source, most_rows=1)
    got = run(network, source, lambda t: t.sqrt(), rows=2)
    assert [float(call[0]) for call in got] == pytest.approx([t**0.5 for t in GRID[:3]])


def test_a_network_outside_of_the_loop_is_let_be():
    """A prior runs before the scheduler's times are set, and after an earlier run was broken off."""
    prior, network, source = Network(), Network(), Source(GRID, ROWS)
    source.num_inference_steps = None
    for one in (prior, network):
        attach(one, RowTimes(source))
    prior(torch.zeros(4, 2), timestep=torch.tensor(33.3))
    source.num_inference_steps = 4
    run(network, source, lambda t: t, calls=2)
    for time in (77.7, 55.5, 33.3):
        prior(torch.zeros(4, 2), timestep=torch.tensor(time))
    assert [float(call[0]) for call in prior.got] == pytest.approx([33.3, 77.7, 55.5, 33.3])


def test_rows_that_are_no_copies_of_the_batch_are_refused():
    network, source = Network(), Source(GRID, ROWS)
    apply_per_sample_time(network, source)
    with pytest.raises(ValueError, match="called with 5 rows and the scheduler has times for 2"):
        run(network, source, lambda t: t, rows=5)


def test_what_takes_no_time_is_refused():
    with pytest.raises(ValueError, match="Identity has no network that takes a time"):
        apply_per_sample_time(nn.Identity(), Source(GRID, ROWS))


def test_a_controlnet_is_told_the_times_of_its_rows():
    pipe = toys.build("ControlNet")
    pipe.scheduler = scheduler = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=900, cutoff=1)
    _, prompt, arguments = toys.TOYS["ControlNet"]
    seen = {"unet": [], "controlnet": []}
    for name, times in seen.items():
        watch(getattr(pipe, name), lambda args, kwargs, times=times: times.append(torch.as_tensor(args[1]).expand(6)))
    hooks = apply_per_sample_time(pipe, scheduler)
    generators = [torch.Generator().manual_seed(k) for k in range(3)]
    call = {**arguments, "num_images_per_prompt": 3, "num_inference_steps": 4, "generator": generators}
    pipe(prompt, output_type="latent", **call)
    unet, controlnet = (torch.stack(times) for times in seen.values())
    assert torch.equal(unet, controlnet)
    assert (unet[1:, 0] != unet[1:, 1]).any(), "each row has its own"
    assert torch.equal(unet[:, :3], unet[:, 3:]), "and the same under guidance"
    hooks.remove()
