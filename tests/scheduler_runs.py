"""A pipeline's loop without a pipeline."""

import inspect


def scaled(scheduler, x, t):
    """The model's input."""
    return scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x


def extra(scheduler, draws):
    """Generators, for a step that takes them."""
    return {"generator": draws} if "generator" in inspect.signature(scheduler.step).parameters else {}


def loop(scheduler, x, model, draws=None, first=0, scales=True, **times):
    """The end of a run.

    Args:
        x: first sample, scaled as pipelines do where `scales`.
        model: a function of the model's input and the time.
        first: model call to begin with, as image-to-image pipelines do.
        times: arguments of `set_timesteps`.
    """
    scheduler.set_timesteps(**times)
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    if scales:
        x = x * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps[first:]:
        x = scheduler.step(model(scaled(scheduler, x, t), t), t, x, return_dict=False, **extra(scheduler, draws))[0]
    return x
