import ast
import inspect
from contextlib import contextmanager
from pathlib import Path

import diffusers
import pytest
import samplesmith
import torch
import toys
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionPipeline
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
        assert {key for key in vars(owner) if key in METHODS} == {key for key in old if key in METHODS}


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


METHODS = {
    name
    for kind in (
        torch.nn.Module,
        diffusers.ModelMixin,
        StableDiffusionPipeline,
        diffusers.FluxPipeline,
        DDIMScheduler,
        LCMScheduler,
        diffusers.FlowMatchEulerDiscreteScheduler,
        diffusers.AutoencoderKL,
    )
    for name, value in inspect.getmembers(kind)
    if callable(value) and not name.startswith("__")
}
"""Names of methods that pipelines, schedulers and models have."""


def is_own(node):
    """`self`, or the same state seen as an object of the child's class, `self.child`."""
    if isinstance(node, ast.Attribute) and node.attr == "child":
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def replaced_methods(source):
    """Lines that put a method on an object, or take one off, other than an object's own on itself."""
    tree = ast.parse(source)
    functions = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    lines = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else []
        for target in targets:
            if isinstance(target, ast.Subscript):  # vars(x)["step"] = ..., x.__dict__["step"] = ...
                of = target.value
                dictionary = isinstance(of, ast.Call) and getattr(of.func, "id", "") == "vars"
                named = isinstance(target.slice, ast.Constant) and target.slice.value in METHODS
                if named and (dictionary or (isinstance(of, ast.Attribute) and of.attr == "__dict__")):
                    lines.append(node.lineno)
            if not isinstance(target, ast.Attribute):
                continue
            on_self = is_own(target.value)
            value = getattr(node, "value", None)
            function = isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)
            if not on_self and (target.attr in METHODS or function):
                lines.append(node.lineno)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr"):
            on_self = is_own(node.args[0])
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            if not on_self and (name is None or name in METHODS):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "source",
    [
        "pipe.encode_prompt = mine",
        "del pipe.prepare_latents",
        "def f(x):\n    pass\nmodel.anything = f",
        "model.anything = lambda x: x",
        "setattr(owner, name, replacement)",
        "delattr(owner, 'step')",
        "vars(scheduler)['step'] = f",
        "model.__dict__['forward'] = f",
    ],
)
def test_a_replaced_method_is_seen(source):
    assert replaced_methods(source)


def test_what_is_no_replaced_method_is_left():
    assert not replaced_methods("self.step = 0\npipe.scheduler = other\nsetattr(self, name, value)\nx.y = [f]")


def test_nothing_else_in_the_package_replaces_methods():
    """Only `shadow` does, so that what stood there is always put back; and hooks, around which registries stand."""
    root = Path(samplesmith.__file__).parent
    floors = ("verifiers", "samplers", "pipelines", "evaluation", "training")  # app touches pipelines through these
    found = [
        f"{file.relative_to(root)}:{line}"
        for floor in floors
        for file in sorted((root / floor).rglob("*.py"))
        if file.name not in ("shadow.py", "denoiser_hook.py")
        for line in replaced_methods(file.read_text())
    ]
    assert not found
