"""The machinery of halving in an unmodified pipeline: windows, previews and kept rows, with the strategy's rungs."""

import pytest
import torch
import toys
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from samplesmith.pipelines.ledger import count_nfe
from samplesmith.pipelines.previews import decode, record_previews
from samplesmith.samplers import FlowSDEScheduler, WindowedScheduler
from samplesmith.samplers.strategies.halving import Halving

STEPS = 7


def call(pipe, name, draws, **changes):
    arguments = toys.TOYS[name][2] | {"num_inference_steps": STEPS, "output_type": "latent"}
    return pipe([toys.PROMPT] * len(draws), generator=draws, **(arguments | changes)).images


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("StableDiffusion", DPMSolverMultistepScheduler()),
        ("StableDiffusion3", FlowMatchEulerDiscreteScheduler(shift=3.0)),
        ("StableDiffusion3", FlowSDEScheduler(shift=3.0, integrator="heun")),
        ("Flux", FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)),
    ],
    ids=["SD, DPM++", "SD3", "SD3, Heun", "FLUX"],
)
def test_the_winner_is_the_plain_run_of_its_seed_at_the_counted_cost(name, scheduler):
    pipe = toys.build(name)
    windowed = pipe.scheduler = WindowedScheduler.from_scheduler(scheduler)
    search = Halving(3).start(20, 4, STEPS)
    draws, latents, rows = {}, None, []
    size = {"height": 32, "width": 32} if name == "Flux" else {}
    with count_nfe(pipe) as spent, record_previews(pipe) as previews:
        while not search.done:
            rung = search.propose(4)
            stop = rung[0].stop
            if latents is None:
                draws = dict(zip((one.seed for one in rung), generators(one.seed for one in rung), strict=True))
            else:
                keep = [rows.index(one.seed) for one in rung]
                windowed.keep_rows(keep)
                latents = latents[keep]
            rows = [one.seed for one in rung]
            windowed.set_window(rung[0].start, stop)
            latents = call(pipe, name, [draws[seed] for seed in rows], latents=latents)
            scored = latents if stop == STEPS else previews.latents[stop - 1]
            pictures = decode(pipe, scored, **size)
            search.observe(rung, pictures.mean((1, 2, 3)).tolist())
    assert [one.stop for one, _ in search.observed] == [1] * 4 + [3] * 2 + [7]
    assert len(latents) == 1

    pipe.scheduler = scheduler
    with count_nfe(pipe) as whole:
        plain = call(pipe, name, generators([search.best.seed]))
    assert torch.allclose(latents, plain, atol=2e-5 * float(plain.abs().max()))
    if scheduler.order == 1:
        assert spent.nfe * STEPS == search.cost(4, STEPS) * whole.nfe
    else:  # Heun's last step makes one call, the others two
        assert spent.nfe * (2 * STEPS - 1) == (2 * search.cost(4, STEPS) - 1) * whole.nfe
