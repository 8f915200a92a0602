"""Steered runs of a pipeline by hand, node for node in windows, and in its own loop, as tests compare them."""

from dataclasses import dataclass

import numpy as np
import torch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.initial_noises import initial_noises
from samplesmith.pipelines.search.evaluator import Evaluator
from samplesmith.samplers import SteeredScheduler
from samplesmith.samplers.strategies import Budget, make_strategy

STEPS, CALLS, SEED = 4, 15, 3
SCRIPT = np.random.default_rng(0).random(99).tolist()


@dataclass
class Setup:
    pipe: object
    scheduler: object
    arguments: dict


def by_hand(setup, strategy, rewards=SCRIPT, seed=SEED):
    """Ids of a strategy's nodes, each made in windows, and the image of the best finished one."""
    setup.pipe.scheduler = setup.scheduler
    made_by = Evaluator(PipelineCall(setup.pipe, {**setup.arguments, "num_inference_steps": STEPS}))
    calls = made_by.rows.run_length("a cat").calls_between
    search = make_strategy(strategy).start(seed, None, Budget(CALLS, {}, calls), STEPS)
    ids, best = [], (-1.0, None)
    while not search.done and (batch := search.propose(1)):
        (node,), reward = batch, rewards[len(ids)]
        image = made_by.make("a cat", batch).images[0]
        search.budget.learn(node, calls(node.start, node.stop))
        search.budget.spent += calls(node.start, node.stop)
        ids.append(node.id)
        if node.finished and reward > best[0]:
            best = (reward, image)
        search.observe(batch, [reward])
    return ids, best[1]


def scripted(*scripts):
    """Scores of each row by its own script."""
    left = [iter(script) for script in scripts]
    return lambda latents, rows: [next(left[row]) for row in rows]


def in_its_own_loop(setup, strategy, score, seeds=(SEED,), **arguments):
    pipe = setup.pipe
    pipe.scheduler = SteeredScheduler.from_scheduler(setup.scheduler, steps=STEPS)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    call = {"num_inference_steps": CALLS, "output_type": "np", **setup.arguments, **arguments}
    with initial_noises(pipe) as noise:
        pipe.scheduler.steer_by(strategy, score, SEED, noise)
        return pipe("a cat", generator=generators, **call).images


def levels(image, other):
    return np.abs((image * 255).round().astype(int) - np.asarray(other).astype(int)).max()
