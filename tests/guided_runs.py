"""Guided runs of toys, and weak predictions with a known answer."""

import inspect

import torch
import toys
from diffusers.hooks import HookRegistry
from samplesmith.samplers.hooks import DenoiserHook, attach, count_evaluations, timed_networks

SCALE = 3.0
"""Guidance scale of the runs."""

LAYOUTS = {
    "StableDiffusion": "uncond-first",
    "StableDiffusionXL": "uncond-first",
    "StableDiffusion3": "uncond-first",
    "DiT": "cond-first",
    "LuminaPipeline": "cond-first",
    "Flux true CFG": "separate",
    "QwenImagePipeline": "separate",
    "ChromaPipeline": "separate",
}
"""A toy of each way in which pipelines guide; Chroma calls in turn without naming its calls."""


def denoiser(pipe):
    (network,) = timed_networks(pipe)
    return network


def run(pipe, name, *, rows=1, steps=3, scale=SCALE, seed=0, **changes):
    """The latents of a run (DiT: the pictures), and the rows of each evaluation."""
    _, prompt, arguments = toys.TOYS[name]
    parameters = inspect.signature(type(pipe).__call__).parameters
    arguments = {**arguments, "num_inference_steps": steps, **changes}
    arguments["true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"] = scale
    if name == "DiT":
        prompt, arguments["output_type"] = [prompt + row for row in range(rows)], "np"
    else:
        arguments["output_type"] = "latent"
        if rows > 1:
            prompt = [prompt, *["a dog on green", "two cars", "a tree"][: rows - 1]]
            if isinstance(arguments.get("negative_prompt"), str):
                arguments["negative_prompt"] = [arguments["negative_prompt"]] * rows
    count = rows * arguments.get("num_images_per_prompt", 1)
    generators = [torch.Generator().manual_seed(seed + row) for row in range(count)]
    evaluated = []
    with count_evaluations(pipe, evaluated.append):
        images = pipe(prompt, generator=generators if count > 1 else generators[0], **arguments)[0]
    return torch.as_tensor(images), evaluated


class Scaled:
    """A weak prediction that is something else than c: a share of it."""

    def predict(self, conditional):
        return 0.7 * conditional.prediction

    def check(self, module):
        """Any."""


class Recorded:
    """An oracle: the guided predictions of an earlier run, step by step."""

    def __init__(self, predictions):
        self.predictions, self.calls = predictions, 0

    def predict(self, conditional):
        self.calls += 1
        return self.predictions[self.calls - 1]

    def check(self, module):
        """Any."""


class _Outputs(DenoiserHook):
    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def post_forward(self, module, output):
        self.outputs.append(output if isinstance(output, torch.Tensor) else output[0])
        return output


def guided_predictions(pipe, name, layout, channels=None, **arguments):
    """The guided prediction of each step of a plain run."""
    outputs = []
    watch = attach(denoiser(pipe), _Outputs(outputs))
    run(pipe, name, **arguments)
    watch.remove()
    if layout == "separate":
        pairs = list(zip(outputs[1::2], outputs[::2], strict=True))
    else:
        pairs = [one.chunk(2) if layout == "uncond-first" else one.chunk(2)[::-1] for one in outputs]
    return [u + SCALE * (c - u) for u, c in pairs]


def is_untouched(network):
    """No hook of any kind, and the class's own forward."""
    registry = HookRegistry.check_if_exists_or_initialize(network)
    return not registry.hooks and not registry._fn_refs and "forward" not in vars(network)
