"""emoji-turbo: `python -m samplesmith.training.embedded.emoji_turbo --output runs/turbo --latents FILE`.

A student of emoji-sd3 for few steps without guidance, of its form: what ships is a LoRA of the teacher, so that all
parts of the pipeline are the teacher's, its transformer too. Stages, each a run of its own in a folder of the output:
- `tsm`: the student learns the teacher's guided velocity, so that a step costs one call in place of two.
- `own`: it goes on learning that, half of it where its own runs take it.
- `dm`: distribution matching of its own steps (`training/distillation/`), the fake score begins as the student.
- `adm`: the same, with a discriminator on real latents.
It steps by the stock scheduler that `distillation/student_scheduler.py` makes.
Needs: `pip install samplesmith[train]`, and the encoded scenes that the recipe `flow` left.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.loaders.lora_pipeline import LORA_WEIGHT_NAME_SAFE
from torch import Tensor

from ... import assets
from ...pipelines.loading import load
from ...valid_json import to_json
from ..checkpoints import FolderError
from ..distill import distil
from ..distillation.denoiser import Condition, Denoiser
from ..distillation.examples import Drawn, Source
from ..distillation.low_rank import low_rank_difference
from ..distillation.stages import Plan
from ..distillation.student_scheduler import student_scheduler, student_times
from ..loop import Every, Loop
from .command_line import recipe_parser, run_recipe
from .denoisers import without_flash_attention
from .flow import embed
from .generator import draw_sheet
from .latents import LatentScenes
from .saved_pipeline import save_pipeline
from .text import token_ids

TEACHER = "emoji-sd3"
STAGES = ("tsm", "own", "dm", "adm")
STEPS = {"tsm": 6, "own": 6, "dm": 4, "adm": 4}
SHIFT = 2.0
"""Of the grid on which the teacher's 6 guided steps do best: .362 right where its 28 have .400 (call_defaults.py)."""
RANK = 96
"""Of the LoRA: of 160 validation draws .331 are right with it as with all weights, .294 at 64, .238 at 32."""
UPDATES = {"tsm": 4500, "own": 2400, "dm": 1500, "adm": 300}
"""`own` of what ships began with the average after 2,600 of the updates of `tsm`."""
SHARED = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae")
"""Components that lie in the teacher's folder alone."""

BATCHES = {"tsm": 32, "own": 48, "dm": 32, "adm": 32}
RATES = {"tsm": 3e-4, "own": 2.5e-4, "dm": 5e-5, "adm": 2e-5}


def call_defaults(stage: str) -> dict[str, Any]:
    """The call of a stage's student."""
    return {"num_inference_steps": STEPS[stage], "guidance_scale": 1.0, "max_sequence_length": 1}


class Captioned:
    """Latent scenes with captions that are written anew each time, through the teacher's text encoder.

    Args:
        scenes: encoded, with their tokenizer.
        text_encoder: the teacher's.
    """

    def __init__(self, scenes: LatentScenes, text_encoder: Any):
        self.scenes, self.text_encoder = scenes, text_encoder

    def draw(self, source: Source, count: int) -> Drawn:
        batch = self.scenes.draw(source, count, dropout=0)
        return Drawn(batch.x0, self._encoded(batch.ids))

    def null(self, count: int) -> Condition:
        return self._encoded(token_ids(self.scenes.tokenizer, [""] * count))

    @torch.no_grad()
    def _encoded(self, ids: Tensor) -> Condition:
        hidden, pooled = embed(self.text_encoder, ids)
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled}


def build_plan(stage: str, scheduler: Any) -> Plan:
    """How a stage goes, for the teacher's scheduler."""
    return Plan(
        student_times(student_scheduler(scheduler, shift=SHIFT), STEPS[stage]),
        learned=(0.2, 1.0),  # eight steps call it at .22 and above
        own=0.5 if stage == "own" else 0.0,
        guidance_scale=assets.call_defaults(TEACHER)["guidance_scale"],
        rate=RATES[stage],
        fake_rate=1e-4,
        fake_updates=2,
        alignment=0.97,
        redraw=False,
    )


def first_student(output: Path, stage: str, teacher: SD3Transformer2DModel) -> SD3Transformer2DModel:
    """What a stage begins with: the teacher's weights, or what the stage before left.

    Raises:
        FolderError: where that stage has not ended.
    """
    if stage == "tsm":
        return copy.deepcopy(teacher)
    before = output / STAGES[STAGES.index(stage) - 1] / "student"
    if not before.is_dir():
        raise FolderError(f"no folder {before}; end the stage {before.parent.name} first")
    return SD3Transformer2DModel.from_pretrained(before, dtype=torch.float32)


def student_pipeline(teacher: StableDiffusion3Pipeline, student: SD3Transformer2DModel) -> StableDiffusion3Pipeline:
    """The stock pipeline with the student's transformer and scheduler, and the teacher's other parts."""
    parts = teacher.components | {
        "transformer": student,
        "scheduler": student_scheduler(teacher.scheduler, shift=SHIFT),
    }
    return StableDiffusion3Pipeline(**parts)


def save_student(pipeline: StableDiffusion3Pipeline, teacher: SD3Transformer2DModel, folder: Path, stage: str) -> None:
    """What ships: LoRA, scheduler, index; `samplesmith.load` finds the parts in the teacher's folder and fuses them."""
    save_pipeline(pipeline, folder)
    for name in SHARED:
        shutil.rmtree(folder / name, ignore_errors=True)
    factors = low_rank_difference(pipeline.transformer, teacher, RANK)
    half = {name: value.half() for name, value in factors.items()}
    StableDiffusion3Pipeline.save_lora_weights(folder, transformer_lora_layers=half)
    card = {
        "kind": "pipeline",
        "summary": "emoji-sd3's student for few steps without guidance; StableDiffusion3Pipeline",
        "vocabulary": "emoji",
        "guide": "emoji-clip",
        "teacher": TEACHER,
        "shared": dict.fromkeys(SHARED, TEACHER),
        "lora": {"transformer": LORA_WEIGHT_NAME_SAFE},
        "call_defaults": call_defaults(stage),
    }
    (folder / "samplesmith.json").write_text(to_json(card, indent=2) + "\n")


def train(
    output: Path,
    latents: Path,
    stage: str,
    updates: int | None = None,
    seed: int = 0,
    compiled: bool = False,
    bf16: bool = False,
) -> StableDiffusion3Pipeline:
    """Run a stage, or go on with it; the student's pipeline so far is left in the folder `pipeline`.

    Args:
        output: folder of all stages.
        latents: encoded scenes with captions, left by the recipe `flow`.
        stage: one of `STAGES`.
        updates: of the student; None: as many as were shipped.
        seed: of the run.
        compiled: whether networks are compiled.
        bf16: whether the student computes in bfloat16.

    Raises:
        FolderError: where the stage before has not ended, or there are no latents.
        WrongRunError: where the folder holds another run.
        NonFiniteError: where a loss or a gradient is NaN or infinite.
    """
    if not latents.is_file():
        raise FolderError(f"no file {latents}; the recipe flow leaves its encoded scenes as latents.pt")
    pipe = load(TEACHER)
    for part in (pipe.transformer, pipe.text_encoder, pipe.vae):
        part.eval().requires_grad_(False)
    teacher = Denoiser.of(pipe.transformer, pipe.scheduler)
    student = first_student(output, stage, pipe.transformer)
    data = Captioned(LatentScenes.of(torch.load(latents, weights_only=True), pipe.tokenizer), pipe.text_encoder)

    def show(loop: Loop) -> None:
        so_far = student_pipeline(pipe, loop.average["student"])
        draw_sheet(so_far, output / stage / f"sheet_{loop.progress.step:06d}.png", call_defaults(stage))
        save_student(so_far, pipe.transformer, output / "pipeline", stage)

    plan = build_plan(stage, pipe.scheduler)
    matching = stage in ("tsm", "own")
    fake = None if matching else first_fake(output, stage)
    student = distil(
        output / stage,
        "tsm" if matching else stage,
        student,
        teacher,
        data,
        plan,
        updates or UPDATES[stage],
        BATCHES[stage],
        seed,
        fake,
        average=0.998,
        callbacks=[Every(200, show)],
        compiled=compiled,
        about={"recipe": "emoji_turbo", "scenes": len(data.scenes.scenes)},
        bf16=bf16,
        cpu=True,
        evaluate_every=250 if matching else 100,
    )
    pipeline = student_pipeline(pipe, student)
    save_student(pipeline, pipe.transformer, output / "pipeline", stage)
    return pipeline


def first_fake(output: Path, stage: str) -> SD3Transformer2DModel:
    """The fake score of dm begins as the student; that of adm goes on from dm's."""
    before = output / ("own/student" if stage == "dm" else "dm/fake")
    return SD3Transformer2DModel.from_pretrained(before, dtype=torch.float32)


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=0, needs_autoencoder=False)
    parser.add_argument("--latents", type=Path, required=True, help="encoded scenes, left by the recipe flow")
    parser.add_argument("--stage", choices=STAGES, default="tsm")
    parser.add_argument("--updates", type=int, help="of the student, in place of --images")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    train(
        arguments.output,
        arguments.latents,
        arguments.stage,
        arguments.updates,
        arguments.seed,
        compiled=arguments.compile,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
