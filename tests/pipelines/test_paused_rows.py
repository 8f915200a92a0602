"""Rows that stand at a step: the picture of a clean prediction is the pipeline's own, made by the window's call."""

import numpy as np
import pytest
import torch
import toys
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.decoding import Decoder
from samplesmith.pipelines.paused_rows import PausedRows
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers.strategies.node import Node

NAMES = (
    "StableDiffusionPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline, true CFG",
    "FluxControlPipeline",
    "QwenImagePipeline",
    "SanaPipeline, DPM-Solver++",
    "HiDreamImagePipeline",
    "Kandinsky5T2VPipeline",
    "LatentConsistencyModelPipeline",
)
SLOWLY = (
    *("CogView4Pipeline", "ChromaPipeline", "Lumina2Pipeline", "ZImagePipeline", "Flux2KleinPipeline", "BriaPipeline"),
    *("HunyuanDiTPipeline", "Kandinsky3Pipeline", "Kandinsky5T2IPipeline", "PixArtAlphaPipeline", "PRXPipeline"),
    *("StableDiffusionXLPipeline", "StableDiffusionGLIGENPipeline", "StableDiffusionLDM3DPipeline", "LattePipeline"),
    *("StableDiffusionPanoramaPipeline", "AuraFlowPipeline", "Cosmos2TextToImagePipeline", "WanPipeline, two experts"),
    *("CogVideoXPipeline", "LTXPipeline", "HunyuanVideoPipeline", "AnimateDiffPipeline", "SkyReelsV2Pipeline"),
)


@torch.no_grad()
def pictures(name):
    """Of two rows after the first of three steps, and of what they end with; and the calls of the pipeline."""
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    if "num_inference_steps" in arguments:
        arguments = {**arguments, "num_inference_steps": 3}
    rows, calls = PausedRows(PipelineCall(pipe, arguments)), []
    rows.run_length(prompt)
    nodes = [Node.draw(seed, stop=1) for seed in (3, 4)]

    def prepared(original, *args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    with shadowed(pipe, "prepare_latents", prepared):
        early = rows.advance(prompt, nodes)
    ends = rows.advance(prompt, [node.child() for node in nodes])
    assert all(early.usable)
    return early.images, ends.images, len(calls)


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWLY)])
def test_the_call_ends_with_the_clean_prediction(name, monkeypatch):
    early, ends, calls = pictures(name)
    monkeypatch.setattr(Decoder, "by_the_call", False)
    apart, as_ever, more = pictures(name)
    assert np.array_equal(early, apart)
    assert np.array_equal(ends, as_ever)
    # But for pipelines that cannot end without a step, whose autoencoder decodes.
    assert (more > calls) == (name != "LatentConsistencyModelPipeline")
