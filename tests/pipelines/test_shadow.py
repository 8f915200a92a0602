import inspect
from contextlib import contextmanager

import pytest
import torch
import toys
from diffusers import DDIMScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, decode, record_previews
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers.strategies import Halving, ZeroOrder


class Greeter:
    def greet(self, name="you"):
        return f"hello {name}"


def louder(original, *args, **kwargs):
    return original(*args, **kwargs).upper()


def longer(original, *args, **kwargs):
    return original(*args, **kwargs) + " there"


def test_they_nest_and_leave_nothing():
    one = Greeter()
    with shadowed(one, "greet", louder):
        with shadowed(one, "greet", longer):
            assert one.greet("ann") == "HELLO ANN there"
            assert Greeter().greet("ann") == "hello ann"
        assert one.greet("ann") == "HELLO ANN"
    assert one.greet("ann") == "hello ann"
    assert not vars(one)


def test_a_users_own_method_is_called_and_put_back_after_errors_too():
    one = Greeter()
    own = one.greet = lambda name: f"good day {name}"
    with pytest.raises(KeyError), shadowed(one, "greet", louder), shadowed(one, "greet", longer):
        raise KeyError(one.greet("ann"))
    assert one.greet is own


def test_the_signature_stays_and_what_is_missing_is_told():
    scheduler = DDIMScheduler()
    with shadowed(scheduler, "step", lambda step, *args, **kwargs: step(*args, **kwargs)):
        assert inspect.signature(scheduler.step) == inspect.signature(DDIMScheduler().step)
    with pytest.raises(AttributeError), shadowed(scheduler, "stride", louder):
        pass


@pytest.mark.parametrize("strategy", ["random", ZeroOrder(neighbours=1, draws=1), Halving(keep=0.5, rungs=2)])
@pytest.mark.parametrize("fails", [False, True])
def test_a_search_leaves_a_users_own_methods(strategy, fails):
    """Whatever a search replaces while it runs, on the pipeline or on its scheduler."""
    pipe = toys.build("StableDiffusion")
    own = {}
    replaced = [(pipe, "encode_prompt"), (pipe, "prepare_latents")]
    if not isinstance(strategy, Halving):  # it works on a copy of the scheduler, and refuses
        replaced.append((pipe.scheduler, "step"))
    for owner, name in replaced:
        original = getattr(owner, name)

        def of_user(*args, original=original, **kwargs):
            return original(*args, **kwargs)

        of_user.__signature__ = inspect.signature(original)
        own[name] = vars(owner)[name] = of_user
    before = dict(vars(pipe)), dict(vars(pipe.scheduler))

    def on_batch(report):
        if fails:
            raise KeyboardInterrupt

    call = {"num_candidates": 4, "batch_size": 2, "progress": False, **toys.SMALL, "num_inference_steps": 4}
    try:
        NoiseSearch(pipe, Brightness(), strategy)(toys.PROMPT, on_batch=on_batch, **call)
    except KeyboardInterrupt:
        assert fails
    for owner, name in replaced:
        assert vars(owner)[name] is own[name]
    for owner, old in zip((pipe, pipe.scheduler), before, strict=True):
        methods = {key for key in vars(owner) if hasattr(type(owner), key)}
        assert methods == {key for key in old if hasattr(type(owner), key)}


def test_halving_refuses_a_users_own_step_before_any_model_call():
    pipe = toys.build("StableDiffusion")
    step = pipe.scheduler.step
    own = pipe.scheduler.step = lambda *args, **kwargs: step(*args, **kwargs)
    with watched(pipe.unet) as calls, pytest.raises(ValueError, match="step of the DDIMScheduler was replaced"):
        NoiseSearch(pipe, Brightness(), Halving(keep=0.5, rungs=2))(
            toys.PROMPT, num_candidates=4, progress=False, **{**toys.SMALL, "num_inference_steps": 4}
        )
    assert not calls
    assert pipe.scheduler.step is own


@contextmanager
def watched(module):
    calls = []
    handle = module.register_forward_hook(lambda *args: calls.append(args))
    yield calls
    handle.remove()


def test_previews_leave_a_users_own_step():
    pipe = toys.build("StableDiffusion")
    step = pipe.scheduler.step
    own = pipe.scheduler.step = lambda *args, **kwargs: step(*args, **kwargs)
    with record_previews(pipe) as previews:
        pipe(toys.PROMPT, **toys.SMALL, generator=torch.Generator().manual_seed(0), output_type="latent")
    assert pipe.scheduler.step is own
    assert decode(pipe, previews.latents[0]).shape == (1, 3, 32, 32)
