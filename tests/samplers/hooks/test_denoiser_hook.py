"""Hooks stand in their order, come off without a trace, and survive accelerate's offloading."""

import pytest
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from samplesmith.samplers.hooks import DenoiserHook, attach
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, sample, timestep):
        return self.weight * sample + timestep


class Note(DenoiserHook):
    def __init__(self, notes, name, place):
        super().__init__()
        self.notes, self.name, self.place = notes, name, place

    def pre_forward(self, module, *args, **kwargs):
        self.notes.append(self.name)
        return args, kwargs


@pytest.fixture
def notes():
    return []


def called(network, notes):
    notes.clear()
    with torch.no_grad():
        assert float(network(torch.tensor(2.0), 1)) == 7.0
    return list(notes)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_place_and_not_the_order_of_attaching_tells_who_sees_a_call_first(notes, order):
    network = Network()
    hooks = {place: attach(network, Note(notes, place, place)) for place in order}
    assert called(network, notes) == [2, 1, 0]
    hooks[1].remove()
    assert called(network, notes) == [2, 0]
    hooks[1].remove()
    for place in (2, 0):
        hooks[place].remove()
    assert called(network, notes) == []
    assert "forward" not in vars(network)


def test_of_one_place_the_last_is_outermost(notes):
    network = Network()
    for name in "ab":
        attach(network, Note(notes, name, 1))
    assert called(network, notes) == ["b", "a"]


def test_a_forward_that_the_user_set_stays(notes):
    network = Network()
    network.forward = own = lambda sample, timestep: torch.tensor(7.0)
    hook = attach(network, Note(notes, "a", 1))
    assert called(network, notes) == ["a"]
    hook.remove()
    assert network.forward is own


def test_a_hook_of_diffusers_own_stays(notes):
    from diffusers.hooks import HookRegistry, ModelHook

    class Twice(ModelHook):
        def post_forward(self, module, output):
            notes.append("diffusers")
            return output

    network = Network()
    HookRegistry.check_if_exists_or_initialize(network).register_hook(Twice(), "twice")
    hook = attach(network, Note(notes, "ours", 1))
    assert called(network, notes) == ["ours", "diffusers"]
    hook.remove()
    assert called(network, notes) == ["diffusers"]


def test_a_hook_that_makes_the_calls_stays_when_one_beneath_it_goes():
    """diffusers' registry passes it over from then on, and would leave the removed one beneath it."""

    class Adds(DenoiserHook):
        def __init__(self, amount, place):
            super().__init__()
            self.amount, self.place = amount, place

        def new_forward(self, module, *args, **kwargs):
            return self.fn_ref.original_forward(*args, **kwargs) + self.amount

    network = Network()
    hooks = {place: attach(network, Adds(10.0**place, place)) for place in (1, 2, 3)}

    def added():
        with torch.no_grad():
            return float(network(torch.tensor(2.0), 1)) - 7

    assert added() == 1110
    for place, left in ((1, 1100), (3, 100), (2, 0)):
        hooks[place].remove()
        assert added() == left
    assert "forward" not in vars(network)


class TestOffload:
    """accelerate's hook is taken off and put on again after each call of a pipeline (`maybe_free_model_hooks`)."""

    @staticmethod
    def freed(network):
        """As the pipeline does it at the end of its call."""
        hook = network._hf_hook
        remove_hook_from_module(network)
        return cpu_offload_with_hook(network, "cpu", prev_module_hook=getattr(hook, "prev_module_hook", None))

    @pytest.mark.parametrize("offloaded_first", [True, False])
    def test_it_is_called_in_every_run_and_is_gone_after_removal(self, notes, offloaded_first):
        network = Network()
        if offloaded_first:
            cpu_offload_with_hook(network, "cpu")
        hook = attach(network, Note(notes, "a", 1))
        if not offloaded_first:
            cpu_offload_with_hook(network, "cpu")
        for _ in range(3):
            assert called(network, notes) == ["a"]
            self.freed(network)
        offload = network._hf_hook
        hook.remove()
        assert network._hf_hook is offload
        for _ in range(2):
            assert called(network, notes) == []
            self.freed(network)
        remove_hook_from_module(network)
        assert called(network, notes) == []

    def test_accelerates_hook_still_acts_and_ours_sees_what_it_moved(self, notes):
        network, moved = Network(), []
        cpu_offload_with_hook(network, "cpu")
        original = network._hf_hook.pre_forward
        network._hf_hook.pre_forward = lambda *args, **kwargs: moved.append(len(notes)) or original(*args, **kwargs)
        hook = attach(network, Note(notes, "a", 1))
        called(network, notes)
        hook.remove()
        called(network, notes)
        assert moved == [0, 0]


def test_a_compiled_network_is_hooked_outside_of_its_graph(notes):
    network = torch.compile(Network(), backend="eager")
    hook = attach(network, Note(notes, "a", 1))
    assert called(network, notes) == called(network, notes) == ["a"]
    hook.remove()
    assert called(network, notes) == []
