"""What holds for every transition, whatever its formula."""

import pytest
import torch
from samplesmith.samplers.interpolants import Linear, VariancePreserving
from samplesmith.samplers.transitions import TRANSITIONS, LinearTransition

STEPS = 6


def along(name, path=None):
    kind = TRANSITIONS[name]
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    times = torch.cat([kind.call_times(times[:-1]), times[-1:]])
    return kind.along(times, path or Linear(), "square" if kind.stochastic else None, 0.8), len(times) - 1


@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=["linear", "vp"])
@pytest.mark.parametrize("name", TRANSITIONS)
def test_its_numbers_are_formed_in_float64_for_each_model_call(name, path):
    made, calls = along(name, path)
    tables = vars(made)
    assert {table.shape for table in tables.values()} == {(calls,)}
    assert {table.dtype for table in tables.values()} == {torch.float64}
    assert all(table.isfinite().all() for table in tables.values())
    used = made.to(torch.device("cpu"))
    assert {table.dtype for table in vars(used).values()} == {torch.float32}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_noise_is_added_in_the_first_steps_and_none_in_the_last(name):
    made, _ = along(name)
    assert made.std[-1] == 0
    noisy = made.std[:: made.model_calls] > 0
    assert noisy.tolist() == [step < made.noisy_steps for step in range(len(noisy))]
    assert made.noisy_steps == (STEPS - 1 if made.stochastic else 0)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_the_exact_predictions_of_one_point_lead_to_it(name):
    """With data that is one point, x0 is it and eps follows: every step but noise's lies on the path, the end is x0."""
    made, calls = along(name)
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    times = made.call_times(times[:-1])
    point = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    x, kept = torch.tensor([[1.0, 2.0]], dtype=torch.float64), ()
    for call, time in enumerate(times.tolist()):
        x, kept = made.mean(call, x, point, (x - (1 - time) * point) / time, kept)
        assert (call + 1) % made.model_calls == 0 or call == calls - 1 or kept
    torch.testing.assert_close(x, point, rtol=0, atol=1e-12)
    assert not kept or made.model_calls > 1


@pytest.mark.parametrize("name", [name for name, kind in TRANSITIONS.items() if issubclass(kind, LinearTransition)])
def test_rows_may_stand_at_calls_of_their_own(name):
    made, calls = along(name)
    x, x0, eps = torch.randn(3, calls, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    order = torch.arange(calls - 1, -1, -1)
    together, _ = made.mean(order, x, x0, eps)
    for row, call in enumerate(order.tolist()):
        alone, _ = made.mean(call, x[row : row + 1], x0[row : row + 1], eps[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)
