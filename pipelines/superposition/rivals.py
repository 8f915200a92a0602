"""What a superposition is compared with: the mean of the scores, and one prompt that says it all."""

from __future__ import annotations

from collections.abc import Sequence

from ... import assets
from ...samplers.superposition import And, Formula, Prompt


def joint_prompt(asked: Formula, model: str | None) -> str | None:
    """The one prompt that says what a conjunction of prompts says; None for any other formula.

    Of a model of emoji scenes it is the caption that says what all of them say, and None where they contradict each
    other; else the prompts with "and" between them.

    Args:
        asked: what is superposed.
        model: by name; None for a pipeline in hand.
    """
    if not isinstance(asked, And) or not all(isinstance(part, Prompt) for part in asked.parts):
        return None
    prompts = asked.prompts()
    if model in assets.names() and assets.card(model).get("vocabulary") == "emoji":
        return _joint_caption(prompts)
    return " and ".join(prompts)


def _joint_caption(prompts: Sequence[str]) -> str | None:
    from ...scenes import Scene, merged, parse

    first, *others = (parse(prompt) for prompt in prompts)
    scene: Scene | None = first
    for other in others:
        scene = None if scene is None else merged(scene, other)
    if scene is None or not all(one.counts_hold(scene.counts) for one in (first, *others)):
        return None
    return scene.caption


def rivals(asked: Formula, model: str | None) -> dict[str, list[str]]:
    """Prompts of each rival by its name; all are superposed by their mean, which of one prompt is that prompt alone.

    They are "mean", or where there is just one prompt without a NOT before it, "alone"; and "joint prompt", where one
    prompt can say it all.

    Args:
        asked: what is superposed.
        model: by name; None for a pipeline in hand.
    """
    wanted = asked.affirmed()
    found = {"mean" if len(wanted) > 1 else "alone": wanted} if wanted else {}
    joint = joint_prompt(asked, model)
    return found if joint is None else {**found, "joint prompt": [joint]}
