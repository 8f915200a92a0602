"""What `superpose` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ...valid_json import to_json
from ..clip import Clip


@dataclass(frozen=True, eq=False)
class SuperpositionResult:
    """Superposed images, and how the prompts were weighed on the way.

    Attributes:
        images: one per seed.
        seeds: whose noise each began with. With `correct="fkc"` images go on from one another, and a seed alone does
            not make its image again.
        prompts: in the order of the last axis below.
        operator: a name, weights, or a formula's text.
        guidance_scale: that the superposed score was guided with.
        log_densities: estimated log-density of each prompt at each image's last noisy sample, (images, prompts), with 0
            for all at the start: what matters is the difference.
        traces: "times" (calls,), 1 is noise and 0 data; "weights" (calls, images, rows) of the scores in each step,
            guidance included; "log_densities" (calls, images, rows) before each step, but for what all rows share. Rows
            are the prompts, with the unconditional row before them where there is one. "effective_sizes" (calls,) with
            Feynman-Kac weights.
        log_weights: Feynman-Kac log-weights since the last resampling, (images,); None without.
        nfe: function evaluations, counted.
        decodes: images through the autoencoder, counted.
    """

    images: list[Image.Image | Clip]
    seeds: list[int]
    prompts: list[str | int]
    operator: str | list[float]
    guidance_scale: float
    log_densities: Tensor
    traces: dict[str, Tensor]
    log_weights: Tensor | None
    nfe: int
    decodes: int

    @property
    def kappa(self) -> Tensor:
        """Share of each prompt's score in each step, guidance taken out of them, (calls, images, prompts)."""
        weights: Tensor = self.traces["weights"][:, :, -len(self.prompts) :]
        return weights / self.guidance_scale

    def save(self, folder: str | Path) -> None:
        """Write `000.png`, `001.png`, ... and `superposition.json` with everything else."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(self.images):
            image.save(folder / f"{number:03d}.png")
        (folder / "superposition.json").write_text(to_json(self.record(), indent=1))

    def record(self) -> dict[str, Any]:
        """All but the images, as JSON holds it; a value that is not finite is null."""
        return {
            "prompts": self.prompts,
            "operator": self.operator,
            "guidance_scale": self.guidance_scale,
            "seeds": self.seeds,
            "nfe": self.nfe,
            "decodes": self.decodes,
            "log_densities": _plain(self.log_densities),
            "log_weights": None if self.log_weights is None else _plain(self.log_weights),
            "traces": {name: _plain(values) for name, values in self.traces.items()},
        }


def _plain(values: Tensor) -> Any:
    if values.ndim:
        return [_plain(one) for one in values]
    value = float(values)
    return value if abs(value) < float("inf") else None
