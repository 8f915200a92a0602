"""What a vision-language model says of an image, through any OpenAI-compatible HTTP endpoint."""

from __future__ import annotations

import base64
import io
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from json import JSONDecoder
from typing import Any

import torch
from torch import Tensor

from .base import Verifier
from .chat_endpoint import AnswerError, ChatEndpoint
from .images import to_picture

KEY_VARIABLE = "SAMPLESMITH_VLM_API_KEY"
QUESTION = (
    "How well does this image show what its caption asks for, and how well is it made? Mind objects, their number, "
    "colours, places and relations, and flaws. Caption: {prompt}"
)
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}},
    "required": ["score"],
    "additionalProperties": False,
}


NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WRITTEN = re.compile(rf"(?P<value>{NUMBER})\s*(?:/\s*(?P<of>{NUMBER}))?")
LIKE_JSON = re.compile(rf"""["'“”]score["'“”]\s*:\s*["'“]?(?P<number>{NUMBER}(?:\s*/\s*{NUMBER})?)["'”]?\s*[,}}\n/#]""")
"""A score in something that is nearly JSON; what ends a number must follow, as an answer may be cut off within it."""


class VLMVerifier(Verifier):
    """The score that a model gives to an image in answer to a question about it; one request per image.

    An image whose request fails for good, or whose answer holds no score in the range, gets NaN and a warning with the
    reason: a search loses this candidate alone. Where no image can be scored (key refused, no such model, quota
    exhausted, host down) `VerifierUnavailable` is raised and stops the search.

    Range: [lowest, highest]. Not differentiable. Licence: the terms of the model and of its host, who sees the images.
    Answers may differ from call to call, even at temperature 0.

    Attributes:
        unscored: reasons of the latest NaNs, in order, for callers that keep records.

    Args:
        base_url: of an OpenAI-compatible API, such as "http://localhost:8000/v1"; `/chat/completions` is added.
        model: its name there.
        api_key: None: the environment variable that `key_variable` names, or no key where it is unset. The key is sent
            to this address alone; it is in no message, record or repr.
        question: comes before the image; `{prompt}` in it is replaced by the prompt. The form of the answer is added.
        lowest, highest: ends of the scale that the model is asked to use; a score outside does not count.
        timeout, retries, backoff: as `ChatEndpoint` takes them.
        concurrency: requests at the same time.
        structured: whether to ask for JSON by a schema (`response_format`); False for endpoints that refuse it, where
            the score is read from the text (`read_score`).
        temperature: None: not sent, for models that refuse it.
        key_variable: has a name of its own, so that another service's key is never sent by accident.
        name: of its scores; the last part of the model's name when None.

    Raises:
        ValueError: for an address, key or number that cannot be.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        question: str = QUESTION,
        *,
        lowest: float = 0.0,
        highest: float = 10.0,
        timeout: float = 60.0,
        retries: int = 3,
        backoff: float = 1.0,
        concurrency: int = 4,
        structured: bool = True,
        temperature: float | None = 0.0,
        key_variable: str = KEY_VARIABLE,
        name: str | None = None,
    ):
        if not model:
            raise ValueError("a VLM verifier needs the name of a model at its endpoint")
        if not lowest < highest:
            raise ValueError(f"the scale from {lowest:g} to {highest:g} is empty; lowest must be below highest")
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; at least one request at a time is needed")
        key = os.environ.get(key_variable) if api_key is None else api_key
        self.endpoint = ChatEndpoint(base_url, key, timeout, retries, backoff)
        self.model = model
        self.question = question
        self.lowest, self.highest = lowest, highest
        self.concurrency = concurrency
        self.structured = structured
        self.temperature = temperature
        self.name = name or model.rsplit("/", 1)[-1]
        self.scale = max(abs(lowest), abs(highest))
        self.unscored: deque[str] = deque(maxlen=1000)

    def __repr__(self) -> str:
        return f"VLMVerifier({self.endpoint.address!r}, {self.model!r})"

    def settings(self) -> dict[str, Any]:
        """The address, the model, the question and the scale; not the key, nor time limits and retries."""
        names = ("model", "question", "lowest", "highest", "structured", "temperature")
        return {"address": self.endpoint.address} | {name: getattr(self, name) for name in names}

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        with ThreadPoolExecutor(self.concurrency) as pool:
            answers = list(pool.map(self._ask, images.detach().cpu(), prompts))
        for prompt, answer in zip(prompts, answers, strict=True):
            if isinstance(answer, AnswerError):
                warnings.warn(f"{self.name} gave no score to an image of {prompt!r}: {answer}", stacklevel=2)
                self.unscored.append(str(answer))
        return torch.tensor([math.nan if isinstance(answer, AnswerError) else answer for answer in answers])

    def _ask(self, image: Tensor, prompt: str) -> float | AnswerError:
        try:
            text = self.endpoint.complete(self._body(image, prompt))
            score = read_score(text, self.highest)
            if score is None:
                raise AnswerError(f"its answer holds no score: {self.endpoint.quote(text)}")
            if not self.lowest <= score <= self.highest:
                raise AnswerError(f"its score {score:g} is not from {self.lowest:g} to {self.highest:g}")
            return score
        except AnswerError as error:
            return error

    def _body(self, image: Tensor, prompt: str) -> dict[str, Any]:
        form = (
            f'Answer with JSON alone: {{"score": x}}, where x is a number from {self.lowest:g} (worst) to '
            f"{self.highest:g} (best)."
        )
        content = [
            {"type": "text", "text": f"{self.question.replace('{prompt}', prompt)}\n{form}"},
            {"type": "image_url", "image_url": {"url": data_url(image)}},
        ]
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        if self.structured:
            schema = {"name": "score", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return body


def data_url(image: Tensor) -> str:
    """An image (3, height, width) in [0, 1] as a PNG in a data URL."""
    file = io.BytesIO()
    to_picture(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def read_score(text: str, highest: float | None = None) -> float | None:
    """The score of an answer; None where there is none.

    Models put their JSON in fences, after their thoughts or inside other objects, and numbers in quotes. The last JSON
    object with a "score" counts; where there is none, the last text that is nearly one: in single quotes, with a
    trailing comma or a comment. An answer that is only a number is that number.

    Args:
        text: the answer.
        highest: end of the scale: "8/10" is 8 where it is 10, and no score where it is another.
    """
    scores = [_number(value, highest) for value in _json_scores(text)]
    if not any(score is not None for score in scores):
        scores = [_number(match["number"], highest) for match in LIKE_JSON.finditer(text)]
    if not scores:
        scores = [_number(text.strip(" \t\r\n*`\"'."), highest)]
    return next((score for score in reversed(scores) if score is not None), None)


def _json_scores(text: str) -> Iterator[Any]:
    for start, character in enumerate(text.rpartition('"score"')[0]):
        if character != "{":
            continue
        try:
            yield JSONDecoder().raw_decode(text, start)[0]["score"]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue


def _number(value: Any, highest: float | None) -> float | None:
    """A number, or text of a number, perhaps with the end of its scale; None for anything else."""
    if isinstance(value, str):
        written = WRITTEN.fullmatch(value.strip())
        if written is None or (written["of"] is not None and float(written["of"]) != highest):
            return None
        value = written["value"]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None
