"""Searches with a small pipeline, as their tests run them."""

import json

import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch


def search(pipe, verifier=None, prompt=toys.PROMPT, judge=None, strategy="random", **arguments):
    arguments = {"num_candidates": 5, "batch_size": 2, "progress": False, **toys.SMALL, **arguments}
    if "budget" in arguments:
        del arguments["num_candidates"]
    return NoiseSearch(pipe, verifier or Brightness(), strategy, judge=judge)(prompt, **arguments)


def strict(text):
    """Parse JSON as other languages do: NaN and Infinity are no part of it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)
