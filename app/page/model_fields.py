"""The boxes of a tab that say which model draws, which verifier chooses and which judge measures."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .models import Models
from .words import GLOSSARY

NO_JUDGE = "none"


class ModelFields:
    """Builds the boxes in a fold of their own.

    Args:
        models: of the page.
        judge: label of the judge's box.
        verifier: label of the verifier's box; None for a tab in which nothing is chosen.
        label: of the model's box.
        offered: names of the models, the one to begin with first; None for all.
    """

    def __init__(
        self,
        models: Models,
        judge: str,
        verifier: str | None = None,
        label: str = "Model",
        offered: list[str] | None = None,
    ):
        self.models = models
        names = offered or models.pipelines
        first = self.first(names[0])
        title = "Model and judge" if verifier is None else "Model, verifier and judge"
        with gr.Accordion(title, open=False):
            self.model = gr.Dropdown(names, value=names[0], label=label, info=models.summary(names[0]) or None)
            self.verifier = None
            if verifier is not None:
                guides = models.guides(names[0])
                self.verifier = gr.Dropdown(guides, value=first["verifier"], label=verifier, info=GLOSSARY["verifier"])
            self.judge = gr.Dropdown(
                [NO_JUDGE, *models.judges(names[0])], value=first["judge"], label=judge, info=GLOSSARY["judge"]
            )

    @property
    def boxes(self) -> dict[str, Any]:
        """By the names that a request has for them."""
        named = {"model": self.model, "verifier": self.verifier, "judge": self.judge}
        return {name: box for name, box in named.items() if box is not None}

    def first(self, model: str) -> dict[str, str]:
        """What the boxes hold to begin with, of a model."""
        judge = self.models.default_judge(model) or NO_JUDGE
        return {"model": model, "verifier": self.models.guides(model)[0], "judge": judge}

    def follow(self, model: str, *chosen: str) -> list[Any]:
        """Updates of all boxes for a model; what is chosen and fits it stays.

        Args:
            model: that was taken.
            chosen: in the other boxes, in their order.
        """
        first, now = self.first(model), dict(zip(list(self.boxes)[1:], chosen, strict=True))
        offered = {"verifier": self.models.guides(model), "judge": [NO_JUDGE, *self.models.judges(model)]}
        updates = [gr.update(info=self.models.summary(model) or None)]
        for name, value in now.items():
            # What fits is not written again: a link may have filled the box meanwhile.
            new = {} if value in offered[name] else {"value": first[name]}
            updates.append(gr.update(choices=offered[name], **new))
        return updates


def judge_of(chosen: Any) -> Any:
    """The judge that a box names; None for none."""
    return None if chosen == NO_JUDGE else chosen
