"""The unit of a network's time is told by what arrived, to the last bit where the pipeline's own rounding is met."""

import pytest
import torch
from samplesmith.samplers.hooks.time_units import FORMS, fitting_units

CONVENTIONS = {
    "as it is": lambda t, dtype: t,
    "FLUX: cast, then divided": lambda t, dtype: t.to(dtype) / 1000,
    "Krea 2: divided, then cast": lambda t, dtype: (t / 1000).to(dtype),
    "Z-Image": lambda t, dtype: (1000 - t) / 1000,
    "Lumina 2": lambda t, dtype: 1 - t / 1000,
    "Mochi": lambda t, dtype: 1000 - t,
    "GLM-Image": lambda t, dtype: t - 1,
    "SD 3 in half precision": lambda t, dtype: t.to(dtype),
}


def learnt(passed, times, span=1000):
    """The first unit that fits each of some times, as the hook learns it."""
    found = [fitting_units(passed(time), time, [span]) for time in times]
    return next(unit for unit in found[0] if all(unit in units for units in found[1:]))


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("times", [(1000.0, 826.0, 603.7, 477.1, 301.3, 99.9), (999, 749, 666, 451, 333, 21)])
def test_times_tell_it(convention, dtype, times):
    times = [torch.tensor(time) for time in times]

    def passed(time):
        return CONVENTIONS[convention](time, dtype)

    unit = learnt(passed, times)
    others = torch.tensor([991.7, 640.0, 3.2, 777.0]).to(times[0].dtype)
    assert torch.equal(unit(others, passed(times[0])), passed(others).to(passed(times[0]).dtype))


def test_the_noisiest_time_alone_tells_little():
    """At 1000 a flow's network gets 1 or 0, as constants do."""
    guidance, time = torch.ones(2), torch.tensor(1000.0)
    assert fitting_units(guidance, time, [1000])
    assert not fitting_units(guidance, torch.tensor(750.0), [1000])


@pytest.mark.parametrize("arrived", [0.25, None, "t", True, torch.zeros(2, dtype=torch.bool), torch.zeros(1 << 17)])
def test_what_holds_no_time(arrived):
    assert fitting_units(arrived, torch.tensor(500.0), [1000]) == []


def test_other_spans_and_whole_numbers():
    assert fitting_units(torch.tensor(0.5), torch.tensor(20), [40, 1000])[0].n == 40
    assert [unit.form for unit in fitting_units(500, torch.tensor(501), [1000])] == ["t - 1"]
    assert len(set(FORMS)) == len(FORMS)
