"""Halving with small pipelines, as its tests run it."""

import numpy as np
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch

STEPS = 7
THREE_RUNGS = "halving:rungs=3,keep=0.5,threshold=0.5"


def search(pipe, strategy=THREE_RUNGS, verifier=None, prompt=toys.PROMPT, judge=None, calibration=None, **arguments):
    name = type(pipe).__name__.removesuffix("Pipeline")
    arguments = {"num_candidates": 8, "batch_size": 3, "seed": 3, "progress": False, **arguments}
    if "budget" in arguments:
        del arguments["num_candidates"]
    finder = NoiseSearch(pipe, verifier or Brightness(), strategy, judge, calibration)
    return finder(prompt, **{**toys.TOYS[name][2], "num_inference_steps": STEPS, **arguments})


def difference(image, other):
    return np.abs(np.asarray(image).astype(int) - np.asarray(other)).max()
