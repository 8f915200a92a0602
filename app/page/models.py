"""The models that a page offers: shipped ones, those named at its start, or a pipeline in hand. Each is loaded once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import assets

DEFAULT_MODEL, DEFAULT_VERIFIER, DEFAULT_JUDGE = "emoji-sd3", "emoji-clip", "emoji-detector"
DTYPES = ("float32", "float16", "bfloat16")
IN_HAND = "your pipeline"
"""Name of a pipeline that was given as an object."""


@dataclass(frozen=True)
class Loading:
    """News of a run: models that are read for the first time."""

    names: list[str]


@dataclass
class Models:
    """Pipelines and verifiers by name. Other names are refused, so a visitor loads nothing else.

    Args:
        model: offered first: a shipped model, a folder, a .safetensors file or a hub id.
        verifiers: names offered before the shipped ones.
        judge: a name offered before the shipped ones.
        pipe: a pipeline in hand, in place of `model`.
        verifier: a verifier in hand.
        dtype, device, offload: of the pipelines that are loaded.
    """

    model: str = DEFAULT_MODEL
    verifiers: tuple[str, ...] = ()
    judge: str | None = None
    pipe: Any = None
    verifier: Any = None
    dtype: str = "float32"
    device: str | None = None
    offload: bool = False
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.pipe is not None:
            self.model = IN_HAND
            self.keep(IN_HAND, self.pipe)
        if self.verifier is not None:
            self.keep(self.verifier.name, self.verifier)

    def check(self) -> None:
        """Refuse what the page was given and cannot use, before anybody asks; verifiers of other houses are loaded.

        Raises:
            ValueError: in one sentence.
        """
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        folder = Path(self.model)
        if self.model not in assets.names() and folder.is_dir() and not (folder / "model_index.json").is_file():
            raise ValueError(f"{self.model} is no pipeline: it holds no model_index.json")
        for name in (*self.verifiers, self.judge):
            if name is not None and name not in assets.names("verifier"):
                from ...verifiers import load_verifier

                self.keep(name, load_verifier(name))

    def keep(self, name: str, model: Any) -> None:
        """Have a pipeline or verifier stand under a name, so that it need not be loaded."""
        self._loaded[name] = model

    @property
    def pipelines(self) -> list[str]:
        """Names of pipelines, the one to begin with first."""
        return list(dict.fromkeys([self.model, *assets.names("pipeline")]))

    def teacher(self, name: str) -> str | None:
        """The model that a shipped student was distilled from; None for one that is nobody's student."""
        return assets.card(name).get("teacher") if name in assets.names() else None

    @property
    def students(self) -> list[str]:
        """Names of the pipelines that are somebody's students."""
        return [name for name in self.pipelines if self.teacher(name) is not None]

    def guides(self, model: str) -> list[str]:
        """Names of verifiers that can score a model's pictures, the one to begin with first."""
        given = [] if self.verifier is None else [self.verifier.name]
        own = assets.card(model).get("guide", DEFAULT_VERIFIER) if model in assets.names() else DEFAULT_VERIFIER
        return list(dict.fromkeys([*given, *self.verifiers, *self._shipped_for(model, own)]))

    def judges(self, model: str) -> list[str]:
        """Names of held-out verifiers, the one to begin with first."""
        given = [] if self.judge is None else [self.judge]
        return list(dict.fromkeys([*given, *self._shipped_for(model, DEFAULT_JUDGE)]))

    def default_judge(self, model: str) -> str | None:
        """The judge to begin with, never the verifier that chooses; None where none is left.

        So it is for a model of another house, where the page was given none.
        """
        if self.judge is None and _language(model) is None:
            return None
        return next((name for name in self.judges(model) if name != self.guides(model)[0]), None)

    def _shipped_for(self, model: str, first: str) -> list[str]:
        """Shipped verifiers of the model's own language; for a model of another house, all."""
        language = _language(model)
        fit = [name for name in assets.names("verifier") if language is None or _language(name) in (None, language)]
        return sorted(fit, key=lambda name: name != first)

    @property
    def in_hand(self) -> list[str]:
        """Names of what was given as an object, which no command line can name."""
        return [IN_HAND] * (self.pipe is not None) + ([] if self.verifier is None else [self.verifier.name])

    @property
    def placement(self) -> dict[str, Any]:
        """How pipelines are loaded, as fields of a job."""
        return {"dtype": self.dtype, "device": self.device, "offload": self.offload}

    def announce(self, names: Sequence[str | None], report: Callable[[Any], None]) -> None:
        """Report those models that are not in memory yet; None is no model."""
        if new := [name for name in names if name is not None and name not in self._loaded]:
            report(Loading(new))

    def pipeline(self, name: str) -> Any:
        """A pipeline; loaded when it is first asked for.

        Raises:
            ValueError: for a name that is not offered, or that cannot be loaded.
        """
        if name not in self.pipelines:
            raise ValueError(f"no model {name!r} on this page; it has {', '.join(self.pipelines)}")
        if name not in self._loaded:
            from ...pipelines.on_device import load_on_device

            self._loaded[name] = load_on_device(name, self.dtype, self.device, self.offload)
        return self._loaded[name]

    def judge_or_guide(self, name: str, model: str) -> Any:
        """A verifier; loaded when it is first asked for.

        Raises:
            ValueError: for a name that is not offered, or that cannot be loaded.
        """
        if name not in (known := [*self.guides(model), *self.judges(model)]):
            raise ValueError(f"no verifier {name!r} for {model} on this page; it has {', '.join(dict.fromkeys(known))}")
        if name not in self._loaded:
            from ...verifiers import load_verifier

            self._loaded[name] = load_verifier(name)
        return self._loaded[name]

    def default_steps(self, name: str) -> int | None:
        """Inference steps where none are asked for; None before a pipeline of another house is loaded."""
        if name in assets.names("pipeline"):
            return assets.call_defaults(name).get("num_inference_steps")
        if name not in self._loaded:
            return None
        steps = inspect.signature(type(self._loaded[name]).__call__).parameters.get("num_inference_steps")
        return None if steps is None else steps.default

    def default_side(self, name: str, side: str) -> int | None:
        """Pixels of a picture's height or width where none are asked for; None where the model's folder does not say.

        Args:
            name: of the model.
            side: "height" or "width".
        """
        given = assets.call_defaults(name).get(side) if name in assets.names("pipeline") else None
        if given is not None:
            return given
        denoiser = _read(name, "transformer/config.json") or _read(name, "unet/config.json")
        vae = _read(name, "vae/config.json")
        samples, stages = denoiser.get("sample_size"), vae.get("block_out_channels")
        return samples * 2 ** (len(stages) - 1) if isinstance(samples, int) and stages else None

    def solver(self, name: str) -> str | None:
        """Class of a pipeline's own scheduler; None where that is not known before it is loaded."""
        if name in self._loaded:
            return type(self._loaded[name].scheduler).__name__
        return self._index(name).get("scheduler", (None, None))[1]

    def labels(self, name: str) -> list[str]:
        """Names of the classes that a pipeline is conditioned on; empty for one that takes prompts."""
        if name in self._loaded:
            return list(getattr(self._loaded[name], "labels", None) or {})
        return list((self._index(name).get("id2label") or {}).values())

    def speaks_of_scenes(self, name: str) -> bool:
        """Whether a model draws emoji scenes, whose words are known."""
        return _language(name) == "emoji"

    def summary(self, name: str) -> str:
        """What its card says of a shipped model; empty for another one."""
        return assets.card(name)["summary"] if name in assets.names() else ""

    def _index(self, name: str) -> dict[str, Any]:
        return _read(name, "model_index.json")

    def has_calibration(self, name: str) -> bool:
        """Whether steps "auto" can be had; read without importing torch, as the page is built by it."""
        return name != IN_HAND and "calibrations" in _read(name, "samplesmith.json")

    def calibration(self, name: str, verifier: str) -> Path | None:
        """The calibration by a verifier that a model's folder carries; None without any."""
        if name == IN_HAND:
            return None
        from ...pipelines.search.auto_steps import shipped_calibration

        return shipped_calibration(name, verifier)


def _read(name: str, file: str) -> dict[str, Any]:
    """A JSON file of a model's folder, or of the one that holds this part for both; empty where there is none."""
    if name in assets.names():
        name = assets.card(name).get("shared", {}).get(Path(file).parts[0], name)
    folder = assets.path(name) if name in assets.names() else Path(name)
    return json.loads((folder / file).read_text()) if (folder / file).is_file() else {}


def _language(name: str) -> str | None:
    """The vocabulary of a shipped model, or of the shipped one that it stands on."""
    card = assets.card(name) if name in assets.names() else {}
    return card.get("vocabulary") or (_language(card["clip"]) if "clip" in card else None)
