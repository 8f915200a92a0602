"""What a shipped model's card says of calls: defaults, guide, and the words that it knows. No torch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import assets


def check_model(model: str) -> None:
    """Refuse a name that can be no model, before anything is loaded.

    Raises:
        ValueError: listing the shipped models.
    """
    if model not in assets.names("pipeline") and not Path(model).exists() and model.count("/") != 1:
        raise ValueError(
            f"unknown model {model!r}: neither shipped ({', '.join(assets.names('pipeline'))}) nor a folder, a "
            ".safetensors file or a hub id such as stabilityai/sdxl-turbo"
        )


def default_guide(model: str) -> str:
    """The verifier that searches a shipped model where none is named.

    Raises:
        ValueError: for any other model: which verifier knows what it draws, only its user can tell.
    """
    if model in assets.names("pipeline"):
        return assets.card(model).get("guide", "emoji-clip")
    check_model(model)
    raise ValueError(
        f"{model} is not a shipped model and brings no guide; name one by --verifier, such as clip:ViT-L-14:openai"
    )


def call_arguments(model: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The shipped model's call defaults, and what was given over them; the rest keeps the pipeline's defaults.

    Args:
        model: a name; of a model that is not shipped there are no defaults.
        given: arguments of the pipeline's call; None where the default is to stay.
    """
    defaults = assets.call_defaults(model) if model in assets.names("pipeline") else {}
    return {**defaults, **{key: value for key, value in given.items() if value is not None}}


def check_vocabulary(prompts: Iterable[str], model: str | None, verifiers: Sequence[str]) -> None:
    """Name the words that a shipped model or verifier has never seen; a detector needs a whole caption.

    Raises:
        ValueError: with the word and the words that are known.
    """
    from ..scenes import PromptError

    cards = {name: assets.card(name) if name in assets.names() else {} for name in (model, *verifiers)}
    for prompt in prompts:
        for name, card in cards.items():
            try:
                _check_prompt(prompt, name, card)
            except PromptError as error:
                if name == model:
                    raise
                raise ValueError(f"{name} cannot read the prompt: {error}; or name another verifier") from error


def _check_prompt(prompt: str, name: str | None, card: Mapping[str, Any]) -> None:
    from ..scenes import UnknownWordError, parse, unknown_words, words_of

    if card.get("vocabulary") == "emoji" and (unknown := unknown_words(prompt)):
        raise UnknownWordError(unknown)
    if words := sorted(set(words_of(prompt)) & set(card.get("lacks", ()))):
        raise ValueError(
            f"{name} was trained before the captions had {', '.join(map(repr, words))}; write a full caption with "
            'number words, such as "two cats on blue"'
        )
    if card.get("loader") == "detector" and prompt.strip():
        parse(prompt)
