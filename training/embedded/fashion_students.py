"""fashion-students: `python -m samplesmith.training.embedded.fashion_students --output runs/students --group four`.

One-step students of fashion-ddpm on Fashion-MNIST's training pictures, in groups that are compared (Song et al., arXiv
2410.23274, table 1):

| group | students | form | updates |
|---|---|---|---|
| `single` | 1 | the teacher's | N |
| `single-long` | 1 | the teacher's | 4 N: the same compute as four students |
| `four` | 4, of classes grouped by the teacher's embeddings | the teacher's | N each |
| `small` | 4 | two of the teacher's five blocks, 41 % of its parameters | N each |

Each student goes through its stages (`tsm` for small ones; `ode`, `dm` for all) in a folder of its own, so that
subsets can train in processes or on machines of their own; `--assemble` joins what they left.
Needs: `pip install samplesmith[train]` and the data set (`samplesmith.fashion.load`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiTTransformer2DModel

from ... import fashion
from ...pipelines.class_conditional import ClassConditionalPipeline
from ...pipelines.loading import load
from ...pipelines.multi_student import MultiStudentPipeline
from ...pipelines.partition import Partition, partition_classes
from ..checkpoints import FolderError
from ..distill import distil
from ..distillation.examples import Examples
from ..distillation.job import class_embeddings
from ..distillation.shortened import shortened, spread_blocks
from ..distillation.stages import Plan
from ..distillation.student_scheduler import student_scheduler, student_times
from ..distillation.teacher import sample_teacher, teacher_of, teacher_times
from .command_line import recipe_parser, run_recipe
from .denoisers import without_flash_attention
from .fashion_ddpm import read_split

TEACHER = "fashion-ddpm"
BATCH = 64
SMALL_BLOCKS = 2
PAIRS_PER_CLASS, PAIR_STEPS = 200, 20
RATES = {"tsm": 5e-4, "ode": 2e-4, "dm": 3e-5}
FAKE_RATE = 3e-4
"""Of the fake score, which has to keep up: with both at 1e-4 the students became worse than their warm start."""
SHARES = {"tsm": 1.0, "ode": 1.0, "dm": 1.0}
"""Updates of each stage, by those of distribution matching."""
FAKE_UPDATES = 2
"""Of the fake score before each of the student's: with DMD2's five they are no better, and take twice the time."""


@dataclass(frozen=True)
class Group:
    """Students that are compared with other groups.

    Attributes:
        students: how many.
        small: whether they have `SMALL_BLOCKS` blocks.
        factor: of the updates.
    """

    students: int
    small: bool = False
    factor: int = 1

    @property
    def stages(self) -> tuple[str, ...]:
        """In their order; `adm` is left out, whose 30 updates took the Fréchet distance of one student up, by 15 %."""
        return ("tsm", "ode", "dm") if self.small else ("ode", "dm")


GROUPS = {"single": Group(1), "single-long": Group(1, factor=4), "four": Group(4), "small": Group(4, small=True)}


def teacher_pipeline() -> ClassConditionalPipeline:
    """fashion-ddpm."""
    pipe = load(TEACHER)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def partition(pipe: ClassConditionalPipeline, students: int) -> Partition:
    """Classes grouped by the teacher's embeddings of them."""
    labels = list(range(len(fashion.CLASSES)))
    generator = torch.Generator().manual_seed(0)
    return partition_classes(labels, class_embeddings(pipe)[labels], students, fashion.CLASSES, generator)


def real_data(pipe: ClassConditionalPipeline, classes: list[int], folder: Path | None) -> Examples:
    """The training pictures of some classes."""
    images, labels = read_split("train", classes, folder)
    return Examples(images, {"class_labels": labels}, {"class_labels": torch.tensor([pipe.null_class])})


def pairs(pipe: ClassConditionalPipeline, classes: list[int], per_class: int, cache: Path) -> Examples:
    """Ends of the teacher's ODE with their noises."""
    labels = torch.tensor(classes * per_class)
    size = pipe.denoiser.config.sample_size
    times = teacher_times(pipe.scheduler, PAIR_STEPS)
    cache.parent.mkdir(parents=True, exist_ok=True)
    return sample_teacher(teacher_of(pipe), {"class_labels": labels}, None, (1, size, size), times, 1.0, 0, cache)


def build_plan(pipe: ClassConditionalPipeline, stage: str) -> Plan:
    """How a stage goes: one step, from two fifths of the teacher's schedule."""
    return Plan(
        student_times(student_scheduler(pipe.scheduler), 1),
        rate=RATES[stage],
        fake_rate=FAKE_RATE,
        fake_updates=FAKE_UPDATES,
    )


def train(
    output: Path,
    group: str,
    subset: int,
    updates: int,
    seed: int = 0,
    data: Path | None = None,
    pairs_per_class: int = PAIRS_PER_CLASS,
    compiled: bool = False,
    bf16: bool = False,
) -> DiTTransformer2DModel:
    """Run all stages of a student, or go on with them; returns the student.

    Args:
        output: folder of all groups.
        group: one of `GROUPS`.
        subset: the student, from 0.
        updates: N, of distribution matching; other stages have their share.
        seed: of the runs; each seed has a folder of its own.
        data: folder of Fashion-MNIST's idx files.
        pairs_per_class: ends of the teacher's ODE for the warm start.
        compiled: whether networks are compiled.
        bf16: whether the student computes in bfloat16.

    Raises:
        ValueError: for a subset that the group has not.
        WrongRunError: where a folder holds another run.
        NonFiniteError: where a loss or a gradient is NaN or infinite.
    """
    chosen = GROUPS[group]
    if not 0 <= subset < chosen.students:
        raise ValueError(f"--subset is {subset}; group {group} has the students 0 to {chosen.students - 1}")
    pipe = teacher_pipeline()
    teacher = teacher_of(pipe)
    classes = partition(pipe, chosen.students).rows(subset)
    pictures = real_data(pipe, classes, data)
    folder = student_folder(output, group, seed, subset)
    student = first_student(pipe, chosen)
    for stage in chosen.stages:
        taught = pairs(pipe, classes, pairs_per_class, folder / "pairs.pt") if stage == "ode" else pictures
        student = distil(
            folder / stage,
            stage,
            student,
            teacher,
            taught,
            build_plan(pipe, stage),
            max(1, round(updates * chosen.factor * SHARES[stage])),
            BATCH,
            seed,
            average=0.998,
            compiled=compiled,
            about={"recipe": "fashion_students", "classes": classes},
            bf16=bf16,
            cpu=True,
        )
        student = DiTTransformer2DModel.from_pretrained(folder / stage / "student", dtype=torch.float32)
    return student


def student_folder(output: Path, group: str, seed: int, subset: int) -> Path:
    """Of a student's stages."""
    return output / f"{group}-{seed}" / f"student-{subset}"


def first_student(pipe: ClassConditionalPipeline, group: Group) -> Any:
    """The teacher's weights, or some of its blocks."""
    blocks = len(pipe.transformer.transformer_blocks)
    return shortened(pipe.transformer, spread_blocks(blocks, min(SMALL_BLOCKS, blocks) if group.small else blocks))


def assemble(output: Path, group: str, seed: int = 0, stage: str = "dm") -> MultiStudentPipeline:
    """The pipeline of a group's students.

    Args:
        output: folder of all groups.
        group: one of `GROUPS`.
        seed: of its runs.
        stage: whose students are taken.

    Raises:
        FolderError: where a student has not ended that stage.
    """
    networks = []
    for subset in range(GROUPS[group].students):
        left = student_folder(output, group, seed, subset) / stage / "student"
        if not left.is_dir():
            raise FolderError(f"no folder {left}; run subset {subset} of the group {group} to the end of {stage} first")
        networks.append(DiTTransformer2DModel.from_pretrained(left, dtype=torch.float32))
    teacher = teacher_pipeline()
    names = {int(label): name for label, name in teacher.config.id2label.items()}
    own = ClassConditionalPipeline(student_scheduler(teacher.scheduler), transformer=networks[0].eval(), id2label=names)
    own.set_progress_bar_config(disable=True)
    router = partition(teacher, len(networks)).router
    return MultiStudentPipeline(own, networks, router, {"num_inference_steps": 1})


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=0, needs_autoencoder=False)
    parser.add_argument("--group", choices=GROUPS, required=True)
    parser.add_argument("--subset", type=int, default=0, help="the student of the group, from 0")
    parser.add_argument("--updates", type=int, default=1500, help="N, in place of --images")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformers")
    parser.add_argument("--assemble", action="store_true", help="join the students that are there to OUTPUT/GROUP-SEED")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    if arguments.assemble:
        folder = arguments.output / f"{arguments.group}-{arguments.seed}" / "pipeline"
        assemble(arguments.output, arguments.group, arguments.seed).save_pretrained(folder)
        return
    train(
        arguments.output,
        arguments.group,
        arguments.subset,
        arguments.updates,
        arguments.seed,
        arguments.data,
        compiled=arguments.compile,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
