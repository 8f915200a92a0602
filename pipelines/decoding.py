"""From latents to the 8-bit pictures that are scored and saved: the only place.

Each pipeline decodes in its own way at the end of its call: it unpacks tokens, undoes a normalisation, takes frames
apart, or has pixels already. So its own call is run again from the latents, with no steps: what it does with finished
latents it does with these. Seams: `prepare_latents`, and a copy of the scheduler that shows no times. Cost: a decode,
and what the pipeline prepares (texts are encoded once in a search); no NFE. Where a pipeline cannot end without a step,
its autoencoder decodes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .outputs import as_pixels, finished_pixels
from .shadow import shadowed
from .started_from import started_from
from .step_noise import step_noise

if TYPE_CHECKING:
    from .call import PipelineCall


class Decoder:
    """Pictures of latents in the form of a pipeline's steps.

    Args:
        call: of the pipeline, which is as it was after each picture.
    """

    def __init__(self, call: PipelineCall):
        self.call = call
        self._ends: bool | None = None

    @property
    def by_the_call(self) -> bool:
        """Whether the pipeline's own call is known to decode such latents; only after a first picture."""
        return bool(self._ends)

    def check(
        self, conditions: Sequence[str | int | None], latents: Tensor, otherwise: str = "use the random strategy"
    ) -> None:
        """Whether latents of this form can be decoded, by decoding them.

        Args:
            conditions, latents: as for a call.
            otherwise: what to do where they cannot.

        Raises:
            ValueError: where they cannot.
        """
        try:
            self(conditions, latents)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise ValueError(
                f"latents of {type(self.call.pipe).__name__} in the midst of a run cannot be decoded ({error}); "
                f"{otherwise}"
            ) from error

    @torch.no_grad()
    def __call__(self, conditions: Sequence[str | int | None], latents: Tensor) -> tuple[np.ndarray, list[bool]]:
        """Decode.

        Args:
            conditions: of the rows.
            latents: or clean predictions, (batch, ...), one per row.

        Returns:
            uint8 images (batch, height, width, 3), and whether each is usable, as `PipelineCall` says.

        Raises:
            ValueError: where neither the pipeline nor its autoencoder can.
        """
        if len(latents) > 1 and not self.call.makes_rows(conditions):
            alone = [self([condition], one) for condition, one in zip(conditions, latents.split(1), strict=True)]
            return np.concatenate([pixels for pixels, _ in alone]), [good for _, usable in alone for good in usable]
        if self._ends is None:
            try:
                pictures = self._ended(conditions, latents)
                self._ends = True
                return pictures
            except torch.OutOfMemoryError:
                raise
            except Exception:  # what a pipeline raises that needs a step, or another form of latents
                self._ends = False
        if self._ends:
            return self._ended(conditions, latents)
        pipe, arguments = self.call.pipe, self.call.arguments
        images = decode(pipe, latents, arguments.get("height"), arguments.get("width"))
        pipe.maybe_free_model_hooks()  # else an offloaded autoencoder stays on the device
        return as_pixels(images.permute(0, 2, 3, 1).cpu().numpy())

    def _ended(self, conditions: Sequence[str | int | None], latents: Tensor) -> tuple[np.ndarray, list[bool]]:
        """The pipeline's own call, without its steps."""
        rows = len(latents)
        arguments = self.call.row_arguments(conditions)
        generators = [torch.Generator().manual_seed(row) for row in range(rows)]
        shown = {"output_type": "np"} if "output_type" in self.call.parameters else {}
        own = step_noise(self.call.pipe, range(rows))
        with _no_steps(self.call.pipe), started_from(self.call.pipe, latents), own:
            out = self.call.pipe(**arguments, generator=generators, **shown)
        pixels, usable = finished_pixels(out)
        if len(pixels) != rows:
            raise ValueError(f"{len(pixels)} pictures of {rows} latents")
        return pixels, usable


@contextmanager
def _no_steps(pipe: Any) -> Iterator[None]:
    """Let a pipeline's loop have no steps, while the context is open; its scheduler is left alone."""
    tried = copy.deepcopy(pipe.scheduler)

    def set_timesteps(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        tried.timesteps = tried.timesteps[:0]
        return out

    with scheduled(pipe, tried), shadowed(tried, "set_timesteps", set_timesteps):
        yield


@contextmanager
def scheduled(pipe: Any, scheduler: Any) -> Iterator[None]:
    """Let a pipeline run with another scheduler while the context is open."""
    before = pipe.scheduler
    pipe.scheduler = scheduler
    try:
        yield
    finally:
        pipe.scheduler = before


@torch.no_grad()
def decode(pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None, vae: Any = None) -> Tensor:
    """Pictures of latents or of clean predictions by a pipeline's autoencoder, where no call of it is at hand.

    Args:
        pipe: a pipeline with an image autoencoder, or one whose latents are pixels in [-1, 1].
        latents: (batch, channels, height, width), also as clips of one frame, (batch, channels, 1, height, width), or
            packed as FLUX has them, (batch, positions, channels).
        height, width: of the pictures, for packed latents; None for the pipeline's default.
        vae: another autoencoder of the same latents, in place of the pipeline's.

    Returns:
        (batch, 3, height, width) in [0, 1], float32.

    Raises:
        ValueError: for packed latents of a size other than the picture's or that the pipeline cannot unpack, or latents
            that are no image's.
    """
    if vae is None:
        vae = next((own for name in ("vae", "vqvae") if (own := getattr(pipe, name, None)) is not None), None)
    if vae is None:
        return _pixels(latents, type(pipe).__name__)
    if latents.ndim == 3:
        latents = unpacked(pipe, latents, height, width)
    is_frame = latents.ndim == 5 and latents.shape[2] == 1
    if latents.ndim != 4 and not is_frame:
        raise ValueError(f"latents of shape {tuple(latents.shape)} are no image's; only images can be decoded here")
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    if mean is not None and std is not None:
        mean, std = (latents.new_tensor(values)[:, None, None] for values in (mean, std))
        if is_frame:
            mean, std = mean[..., None], std[..., None]
        latents = latents * std / scale + mean
    else:
        latents = latents / scale + (config.get("shift_factor") or 0.0)
    with _without_overflow(vae):
        images = vae.decode(latents.to(pipe._execution_device, vae.dtype), return_dict=False)[0]
    return _pixels(images[:, :, 0] if is_frame else images, type(pipe).__name__)


@contextmanager
def _without_overflow(vae: Any) -> Iterator[None]:
    """Run an autoencoder that overflows in float16, as SDXL's does, in float32."""
    if vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(torch.float16)


def unpacked(pipe: Any, latents: Tensor, height: int | None, width: int | None) -> Tensor:
    """Packed latents, (batch, positions, channels), as (batch, channels, height, width).

    Raises:
        ValueError: for a pipeline that does not unpack, or latents of another size than the picture's.
    """
    if not hasattr(pipe, "_unpack_latents"):
        raise ValueError(
            f"{type(pipe).__name__} does not unpack latents of shape {tuple(latents.shape)}; give (batch, channels, "
            "height, width)"
        )
    factor = pipe.vae_scale_factor
    height, width = (side or pipe.default_sample_size * factor for side in (height, width))
    positions = (height // (2 * factor)) * (width // (2 * factor))
    if positions != latents.shape[1]:
        raise ValueError(
            f"a picture of {height} x {width} has {positions} packed positions, these latents {latents.shape[1]}; pass "
            "the height and width that they were made with"
        )
    return pipe._unpack_latents(latents, height, width, factor)


def _pixels(images: Tensor, name: str) -> Tensor:
    """From [-1, 1] to [0, 1], with three channels."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"{name} leaves {tuple(images.shape)}, which are no images; give it a vae")
    return (images.float() / 2 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)
