"""No method is replaced on an object outside of `pipelines/shadow.py`, which puts back what stood there."""

import ast
import inspect

import diffusers
import pytest
import torch
from package_tree import ROOT, rooms

ALLOWED = {
    "pipelines/shadow.py",
    "samplers/row_state.py",  # which writes what rows keep, tensors and generators, by their names
    "samplers/hooks/denoiser_hook.py",  # beneath accelerate's `forward`, for the time that a hook goes on or off
}

METHODS = {
    name
    for kind in (
        torch.nn.Module,
        diffusers.ModelMixin,
        diffusers.StableDiffusionPipeline,
        diffusers.FluxPipeline,
        diffusers.DDIMScheduler,
        diffusers.LCMScheduler,
        diffusers.FlowMatchEulerDiscreteScheduler,
        diffusers.AutoencoderKL,
    )
    for name, value in inspect.getmembers(kind)
    if callable(value) and not name.startswith("__")
}
"""Names of methods that pipelines, schedulers and models have."""

SETTERS = ("setattr", "delattr", "__setattr__", "__delattr__")


def is_own(node):
    """`self`, or the same state seen as an object of the child's class, `self.child`."""
    if isinstance(node, ast.Attribute) and node.attr == "child":
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def is_state(node):
    """`vars(x)` or `x.__dict__`."""
    called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "vars"
    return called or (isinstance(node, ast.Attribute) and node.attr == "__dict__")


def places(target):
    """The single places that an assignment writes."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [place for one in target.elts for place in places(one)]
    return places(target.value) if isinstance(target, ast.Starred) else [target]


def written(node):
    """Places that a statement writes or deletes, and the value of a plain assignment."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.For)):
        targets = [node.target]
    elif isinstance(node, ast.withitem):
        targets = [node.optional_vars] if node.optional_vars else []
    else:
        targets = []
    return [place for target in targets for place in places(target)], getattr(node, "value", None)


def is_function(value, functions):
    """A lambda, a function of the module, or one that is bound or begun."""
    if isinstance(value, ast.Call):
        name = getattr(value.func, "attr", getattr(value.func, "id", ""))
        return name in ("MethodType", "partial")
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)


def sets_by_name(call):
    """`setattr(x, "step", f)`, `object.__setattr__(x, ...)`, `vars(x).update(step=f)`, and any unknown name."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name == "update" and isinstance(call.func, ast.Attribute) and is_state(call.func.value):
        keys = [keyword.arg for keyword in call.keywords]
        keys += [
            key.value for one in call.args if isinstance(one, ast.Dict) for key in one.keys if hasattr(key, "value")
        ]
        return bool(METHODS.intersection(keys))
    if name not in SETTERS:
        return False
    arguments = call.args
    if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") != "object":
        arguments = [call.func.value, *arguments]  # x.__setattr__("step", f)
    of, key = arguments[0], arguments[1]
    return not is_own(of) and (not isinstance(key, ast.Constant) or key.value in METHODS)


def replaced_methods(source):
    """Lines that put a method on an object, or take one off, other than an object's own on itself."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    functions = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    states = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and is_state(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    modules = {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    lines = set()
    for node in nodes:
        where, value = written(node)
        for place in where:
            of_state = isinstance(place, ast.Subscript) and (
                is_state(place.value) or getattr(place.value, "id", None) in states
            )
            if of_state:
                key = place.slice
                if not is_own(getattr(place.value, "value", None)) and getattr(key, "value", "step") in METHODS:
                    lines.add(place.lineno)
            elif isinstance(place, ast.Attribute) and not is_own(place.value):
                of_module = isinstance(place.value, ast.Name) and place.value.id in modules
                if place.attr in METHODS or (is_function(value, functions) and not of_module):
                    lines.add(place.lineno)
        if isinstance(node, ast.Call) and sets_by_name(node):
            lines.add(node.lineno)
    return sorted(lines)


@pytest.mark.parametrize(
    "source",
    [
        "pipe.encode_prompt = mine",
        "pipe.scheduler.step: object = f",
        "del pipe.prepare_latents",
        "pipe.scheduler.step, y = f, 1",
        "for model.forward in functions: pass",
        "with mine() as model.forward: pass",
        "def f(x):\n    pass\nmodel.anything = f",
        "model.anything = lambda x: x",
        "model.anything = functools.partial(f, 1)",
        "model.anything = types.MethodType(f, model)",
        "setattr(owner, name, replacement)",
        "object.__setattr__(owner, 'step', f)",
        "owner.__setattr__('step', f)",
        "delattr(owner, 'step')",
        "vars(scheduler)['step'] = f",
        "vars(scheduler)[name] = f",
        "own = vars(scheduler)\nown['step'] = f",
        "vars(scheduler).update(step=f)",
        "scheduler.__dict__.update({'step': f})",
        "model.__dict__['forward'] = f",
    ],
)
def test_a_replaced_method_is_seen(source):
    assert replaced_methods(source)


@pytest.mark.parametrize(
    "source",
    [
        "self.step = 0\nself.child.step = 0",
        "pipe.scheduler = other",
        "setattr(self, name, value)\nsetattr(x, 'scheduler', value)",
        "x.y = [f]",
        "import warnings\ndef f(): pass\nwarnings.showwarning = f",
        "vars(made).update(state)",
    ],
)
def test_what_is_no_replaced_method_is_left(source):
    assert not replaced_methods(source)


def test_nothing_else_in_the_package_replaces_methods():
    files = {file for held in rooms(ROOT).values() for file in held}
    found = [
        f"{name}:{line}"
        for file in sorted(files)
        if (name := str(file.relative_to(ROOT))) not in ALLOWED
        for line in replaced_methods(file.read_text())
    ]
    assert not found
    assert all(replaced_methods((ROOT / name).read_text()) for name in ALLOWED), "take what is clean out of ALLOWED"
