"""ClassConditionalPipeline: class labels in, pixels out, with any diffusers scheduler and classifier-free guidance.

Why not a stock one: `DiTPipeline` needs a VAE, hard-codes ImageNet's null class 1000 and hands the *scaled* input to
`step`, which is wrong for Euler and Heun; `ConsistencyModelPipeline` runs a class-conditional UNet2DModel but knows no
guidance, no scheduler without a generator (PNDM) and no DiT. Cost: one model call per step, of twice the rows with
guidance (classifier-free guidance, Ho and Salimans, arXiv 2207.12598, eq. 6).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, DiTTransformer2DModel, ImagePipelineOutput, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


class ClassConditionalPipeline(DiffusionPipeline):
    """
    Pipeline for class-conditional image generation in pixel space.

    This model inherits from [`DiffusionPipeline`]. Noise, velocity and flow models work alike, as the scheduler's
    config says what the model predicts. Search, time shift and every other plug-in work on it as on a stock pipeline.

    Args:
        scheduler ([`SchedulerMixin`]):
            Any diffusers scheduler.
        unet ([`UNet2DModel`], *optional*):
            A denoiser made with `num_class_embeds`.
        transformer ([`DiTTransformer2DModel`], *optional*):
            A denoiser; just one of `unet` and `transformer` is given.
        id2label (`dict[int, str]`, *optional*):
            Names of the labels that the model was trained on; others are refused. None: every row of the class
            embedding is a label without a name.
        null_class (`int`, *optional*):
            Label of "no class", which guidance needs and which is a label like others. None: a DiT's own, the last row
            of its class embedding; a UNet then has none.

    Raises:
        ValueError: unless just one denoiser is given and it takes class labels.
    """

    model_cpu_offload_seq = "unet->transformer"
    _optional_components: ClassVar[list[str]] = ["unet", "transformer"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    def __init__(
        self,
        scheduler: Any,
        unet: UNet2DModel | None = None,
        transformer: DiTTransformer2DModel | None = None,
        # diffusers checks what it loads against this, and understands no union of keys.
        id2label: dict[int, str] | dict[str, str] | None = None,
        null_class: int | None = None,
    ):
        super().__init__()
        if (unet is None) == (transformer is None):
            raise ValueError("give just one of unet= and transformer=: it is the denoiser")
        if unet is not None and not unet.config.num_class_embeds:
            raise ValueError("the UNet takes no class labels; make it with num_class_embeds=")
        self.register_modules(scheduler=scheduler, unet=unet, transformer=transformer)
        names = None if id2label is None else {str(key): name for key, name in id2label.items()}
        self.register_to_config(id2label=names, null_class=null_class)
        self.labels = {name: int(key) for key, name in (names or {}).items()}
        self._interrupt = False

    @property
    def denoiser(self) -> UNet2DModel | DiTTransformer2DModel:
        """The UNet or the transformer."""
        return self.unet if self.transformer is None else self.transformer

    @property
    def null_class(self) -> int | None:
        """Label of "no class"."""
        if self.config.null_class is None and self.transformer is not None:
            return self.transformer.config.num_embeds_ada_norm
        return self.config.null_class

    @property
    def known_labels(self) -> list[int]:
        """Labels that the pipeline takes, the null class included."""
        null, labels = self.null_class, self.labels.values()
        if null is None:  # of a UNet
            return sorted({*(labels or range(self.unet.config.num_class_embeds))})
        rows = self.unet.config.num_class_embeds if self.transformer is None else null
        return sorted({*(labels or range(rows)), null})

    @property
    def interrupt(self) -> bool:
        """Whether the remaining steps are skipped; a callback sets `pipe._interrupt = True`."""
        return self._interrupt

    def get_label_ids(self, label: str | Sequence[str]) -> list[int]:
        """
        Numbers of labels by name, as `DiTPipeline` has it.

        Raises:
            ValueError: for an unknown name.
        """
        return self._numbers([label] if isinstance(label, str) else list(label))

    def _numbers(self, class_labels: Any) -> list[int]:
        if isinstance(class_labels, Tensor):
            class_labels = class_labels.reshape(-1).tolist()
        given = [class_labels] if isinstance(class_labels, (int, str)) else list(class_labels)
        numbers: list[int] = []
        for one in given:
            number = self.labels.get(one) if isinstance(one, str) else one
            if number is None or isinstance(number, bool) or number not in self.known_labels:
                names = {k: name for name, k in self.labels.items()}
                known = [f"{k} ({names[k]})" if k in names else str(k) for k in self.known_labels]
                raise ValueError(f"{one!r} is no class of this model; known: {', '.join(known)}")
            numbers.append(number)
        if not numbers:
            raise ValueError("class_labels is empty; give one label per image")
        return numbers

    def _check(
        self,
        rows: int,
        num_inference_steps: int,
        guidance_scale: float,
        generator: torch.Generator | list[torch.Generator] | None,
        eta: float,
        output_type: str,
        callback_inputs: Sequence[str],
    ) -> None:
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        if not math.isfinite(guidance_scale) or guidance_scale < 0:
            raise ValueError(f"guidance_scale is {guidance_scale}; give 1 for no guidance, more for guidance")
        if guidance_scale > 1 and self.null_class is None:
            raise ValueError("guidance needs a null class and this model has none; leave guidance_scale at 1")
        if isinstance(generator, list) and len(generator) != rows:
            raise ValueError(f"{rows} class labels but {len(generator)} generators; give one per label, or one for all")
        if eta and "eta" not in inspect.signature(self.scheduler.step).parameters:
            raise ValueError(f"eta is {eta} but {type(self.scheduler).__name__} takes none; leave it at 0")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"unknown output_type {output_type!r}; known: {', '.join(OUTPUT_TYPES)}")
        if unknown := [name for name in callback_inputs if name not in self._callback_tensor_inputs]:
            raise ValueError(f"a callback is given no {', '.join(unknown)}; it can have latents")

    def prepare_latents(
        self, rows: int, generator: torch.Generator | list[torch.Generator] | None, latents: Tensor | None
    ) -> Tensor:
        """
        Noise of the scheduler's first scale, (rows, channels, height, width).

        Raises:
            ValueError: for given latents of another shape.
        """
        config = self.denoiser.config
        size = config.sample_size
        shape = (rows, config.in_channels, *((size, size) if isinstance(size, int) else size))
        if latents is None:
            latents = randn_tensor(shape, generator, self._execution_device, self.denoiser.dtype)
        elif tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}; expected {shape}")
        # Flow schedulers have no scale of their own: theirs is 1.
        return latents.to(self._execution_device, self.denoiser.dtype) * getattr(self.scheduler, "init_noise_sigma", 1)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | str | Sequence[int | str] | Tensor,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        eta: float = 0.0,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """
        Make one image per label.

        Args:
            class_labels (`int`, `str`, a list of them, or `torch.Tensor`):
                Numbers or names (`pipe.labels`).
            num_inference_steps (`int`, defaults to 50):
                Steps of the scheduler.
            guidance_scale (`float`, defaults to 1.0):
                Above 1, the prediction goes from the null class's to the label's and beyond it by this factor.
            generator (`torch.Generator` or a list, *optional*):
                Of the noise; with one per row, an image does not depend on the others.
            latents (`torch.Tensor`, *optional*):
                Initial noise of unit variance, (batch, channels, height, width).
            eta (`float`, defaults to 0.0):
                Of DDIM: 0 is deterministic, 1 is DDPM.
            output_type (`str`, defaults to `"pil"`):
                `"pil"`, `"np"` (batch, height, width, channels) or `"pt"` (batch, channels, height, width), in [0, 1];
                `"latent"`: the sample as the scheduler left it, data in [-1, 1].
            return_dict (`bool`, defaults to `True`):
                Whether to return an [`ImagePipelineOutput`] or a tuple.
            callback_on_step_end (`Callable`, *optional*):
                Called as `callback(pipe, i, t, {"latents": ...})` after each step; may return other latents.
            callback_on_step_end_tensor_inputs (`list[str]`):
                What it is given.

        Raises:
            ValueError: for bad arguments, in one sentence each.
        """
        numbers = self._numbers(class_labels)
        rows, guided = len(numbers), guidance_scale > 1
        self._check(
            rows, num_inference_steps, guidance_scale, generator, eta, output_type, callback_on_step_end_tensor_inputs
        )
        device = self._execution_device
        labels = torch.tensor([self.null_class] * rows + numbers if guided else numbers, device=device)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        timesteps = self.scheduler.timesteps
        sample = self.prepare_latents(rows, generator, latents)
        takes = inspect.signature(self.scheduler.step).parameters
        extra = {name: value for name, value in {"eta": eta, "generator": generator}.items() if name in takes}
        warmup = len(timesteps) - num_inference_steps * self.scheduler.order
        self._interrupt = False

        with self.progress_bar(total=num_inference_steps) as bar:
            for i, t in enumerate(timesteps):
                if self._interrupt:
                    continue
                prediction = self._predict(sample, t, labels, guidance_scale)
                sample = self.scheduler.step(prediction, t, sample, **extra, return_dict=False)[0]
                if callback_on_step_end is not None:
                    given = dict.fromkeys(callback_on_step_end_tensor_inputs, sample)
                    sample = callback_on_step_end(self, i, t, given).get("latents", sample)
                # A multistep or second-order scheduler calls the model more often than it steps.
                if i == len(timesteps) - 1 or (i >= warmup and (i + 1) % self.scheduler.order == 0):
                    bar.update()

        images = self._finish(sample, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _predict(self, sample: Tensor, t: Tensor, labels: Tensor, guidance_scale: float) -> Tensor:
        """The model's output at a time, guided where `labels` hold a null class per row before the classes."""
        guided = len(labels) == 2 * len(sample)
        model_input = torch.cat([sample] * 2) if guided else sample
        if hasattr(self.scheduler, "scale_model_input"):
            model_input = self.scheduler.scale_model_input(model_input, t)
        times = t.to(model_input.device).expand(len(model_input))
        output = self.denoiser(model_input, timestep=times, class_labels=labels, return_dict=False)[0]
        output = output[:, : sample.shape[1]]  # the other half is a learned variance, unused as in DiTPipeline
        if not guided:
            return output
        null, conditional = output.chunk(2)
        return null + guidance_scale * (conditional - null)

    def _finish(self, sample: Tensor, output_type: str) -> Any:
        if output_type == "latent":
            return sample
        images = (sample.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            return images
        pixels = images.permute(0, 2, 3, 1).numpy()
        return self.numpy_to_pil(pixels) if output_type == "pil" else pixels
