"""fashion-ar: `python -m samplesmith.training.embedded.fashion_ar --output runs/fashion-ar --compile`.

A `LlamaForCausalLM` that writes Fashion-MNIST as the codes of a VQ model, class-conditional, and its weak model.
- `VQModel`, 32 px to 8 x 8 codes of 256 (van den Oord et al., arXiv 1711.00937, eq. 3); codes that no vector of a batch
  is next to begin anew at one, as codebooks collapse else.
- Cross-entropy of the codes row by row (Esser et al., arXiv 2012.09841), a tenth of the classes dropped for guidance.
- CoRe²'s collect and reflect phases on its logits: `training/collect_logits.py`, `training/reflect.py`.
Needs the data set: `samplesmith.fashion.load`. All of it in fp16 takes less than 2 MB.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import VQModel
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from ... import fashion
from ...pipelines.token_pictures import TokenPictures
from ..averages import rising_decay
from ..collect import CollectSettings
from ..collect_logits import collect_logits
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..reflect import ReflectSettings, reflect
from ..schedules import Progress, linear_decay, warm_up
from .command_line import recipe_parser, run_recipe
from .denoisers import without_flash_attention
from .fashion_ddpm import read_split
from .pixels import save_sheet

CODES, CODE_WIDTH = 256, 8
CLASSES = len(fashion.CLASSES)
BATCH = 128
WARM_UP_IMAGES, DECAY_SHARE = 12_800, 0.5
VQ_LEARNING_RATE, AR_LEARNING_RATE = 2e-3, 2e-3
CLASS_DROPOUT = 0.1
RESTART_EVERY, RESTART_UNTIL = 20, 0.5
"""Steps between looks for codes without a vector, and the share of the run in which they begin anew."""
EMA_DECAY = 0.998
LOG_EVERY, EVALUATE_EVERY = 50, 500
HELD_OUT = 1000
GUIDANCE = 2.0
"""Of the sequences that the weak model learns from."""
WEAK = ReflectSettings((1.0, 7.5), width=64, total_items=256_000, batch_size=128, evaluate_every=500)

Split = tuple[Tensor, Tensor]
"""Pictures (n, 1, 32, 32) in [-1, 1] and labels (n,)."""


def build_vq(channels: tuple[int, ...] = (16, 24, 32)) -> VQModel:
    """About 0.1 M parameters; norms have groups of several channels, as the other autoencoder's."""
    stages = len(channels)
    return VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=channels,
        latent_channels=CODE_WIDTH,
        sample_size=fashion.PADDED_SIZE,
        num_vq_embeddings=CODES,
        norm_num_groups=4,
        vq_embed_dim=CODE_WIDTH,
        mid_block_add_attention=False,
    )


def build_model(width: int = 112, layers: int = 4) -> LlamaForCausalLM:
    """About 0.6 M parameters; the embeddings serve as the head too."""
    config = LlamaConfig(
        vocab_size=CODES + CLASSES + 1,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


class VQTask:
    """Square error of the picture and the codebook's two terms.

    Args:
        vq: with its first weights.
        training, held_out: pictures.
    """

    def __init__(self, vq: VQModel, training: Tensor, held_out: Tensor):
        self.networks = vq
        self.optimizer = torch.optim.AdamW(vq.parameters(), VQ_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
        self.images, self.held_out = training, held_out

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        rows = torch.randint(len(self.images), (loop.settings.batch_size,), generator=loop.generator)
        x = self.images[rows].to(loop.device)
        with loop.autocast():
            latents = self.networks.encode(x).latents
        latents = latents.float()
        if loop.progress.step % RESTART_EVERY == 0 and loop.progress.share < RESTART_UNTIL:
            self._restart(latents.detach(), loop.generator)
        quantized, commitment, (_, _, codes) = self.networks.quantize(latents)
        with loop.autocast():
            decoded = self.networks.decode(quantized, force_not_quantize=True).sample
        error = F.mse_loss(decoded.float(), x)
        return error + commitment, {"error": error, "commitment": commitment, "codes": len(codes.unique())}

    def evaluate(self, loop: Loop) -> Figures:
        x = self.held_out.to(loop.device)
        return {"validation": F.mse_loss(loop.average(x).sample, x)}

    @torch.no_grad()
    def _restart(self, latents: Tensor, generator: torch.Generator) -> None:
        """Let each code that no vector of a batch is next to be one of those vectors."""
        vectors = latents.movedim(1, -1).flatten(0, -2)
        book = self.networks.quantize.embedding.weight
        unused = torch.ones(len(book), dtype=torch.bool, device=book.device)
        unused[torch.cdist(vectors, book).argmin(1)] = False
        drawn = torch.randint(len(vectors), (int(unused.sum()),), generator=generator)
        book[unused] = vectors[drawn.to(vectors.device)]


class TokensTask:
    """Cross-entropy of a picture's codes after its class, or after none.

    Args:
        model: with its first weights.
        training, held_out: codes (n, tokens) and labels (n,).
        compiled: whether the model is compiled by torch for the speed.
    """

    def __init__(self, model: LlamaForCausalLM, training: Split, held_out: Split, compiled: bool = False):
        self.networks = model
        self.fast: Any = torch.compile(model) if compiled else model
        self.optimizer = torch.optim.AdamW(model.parameters(), AR_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
        self.codes, self.labels = training
        self.held_out = held_out

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        count = loop.settings.batch_size
        rows = torch.randint(len(self.codes), (count,), generator=loop.generator)
        dropped = torch.rand(count, generator=loop.generator) < CLASS_DROPOUT
        labels = torch.where(dropped, CLASSES, self.labels[rows])
        with loop.autocast():
            loss = code_loss(self.fast, self.codes[rows].to(loop.device), labels.to(loop.device))
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        codes, labels = (one.to(loop.device) for one in self.held_out)
        return {
            "validation": code_loss(loop.average, codes, labels),
            "without_class": code_loss(loop.average, codes, torch.full_like(labels, CLASSES)),
        }


def code_loss(model: Any, codes: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of codes (batch, tokens) after their classes (batch,), `CLASSES` for none."""
    ids = torch.cat([CODES + labels[:, None], codes], dim=1)
    logits = model(ids[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def schedule(progress: Progress) -> float:
    """A warm-up, a constant rate, and a linear decay."""
    return warm_up(progress, WARM_UP_IMAGES) * linear_decay(progress, DECAY_SHARE, least=1e-3)


def settings_of(total_images: int, seed: int, part: str, bf16: bool) -> LoopSettings:
    """The settings of one part's run."""
    return LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        average_decay=lambda update: rising_decay(update, EMA_DECAY, 1, 10),
        gradient_norm=1.0,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about={"recipe": "fashion_ar", "part": part},
    )


def train(
    output: Path,
    training: Split,
    held_out: Split,
    total_images: int,
    seed: int,
    bf16: bool = False,
    compiled: bool = False,
) -> TokenPictures:
    """Train the VQ model on a third of the images, the causal model on the rest, and the weak model; or go on.

    `output/fashion-ar` gets the three in fp16: `vq`, `transformer`, `weak-model`.

    Args:
        output: a folder for each part.
        training, held_out: pictures and labels.
        total_images: of both parts.
        seed: of the runs.
        bf16: whether both compute in bfloat16; distances of codes are float32's.
        compiled: whether the causal model is compiled.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where a loss or its gradient is NaN or infinite.
    """
    held_out = (held_out[0][:HELD_OUT], held_out[1][:HELD_OUT])
    with initial_weights(seed):
        vq, model = build_vq(), build_model()
    vq_loop = Loop(
        output / "vq", VQTask(vq, training[0], held_out[0]), settings_of(total_images // 3, seed, "vq", bf16)
    )
    vq_loop.run()
    pictures = TokenPictures(model, vq_loop.average)
    codes, other = ((encoded(pictures, images), labels) for images, labels in (training, held_out))
    loop = Loop(
        output / "transformer",
        TokensTask(model, codes, other, compiled),
        settings_of(total_images - total_images // 3, seed, "transformer", bf16),
    )
    loop.run()
    pictures = TokenPictures(loop.average, vq_loop.average)
    _save(pictures, output / "fashion-ar")
    collect_logits(
        pictures.model,
        pictures.class_tokens(range(CLASSES)),
        [pictures.no_class],
        pictures.tokens,
        output / "collected",
        CollectSettings(draws=64, keep_steps=32, batch_size=64, seed=seed),
        GUIDANCE,
    )
    reflect(output / "collected", output / "reflected", WEAK)
    return pictures


def encoded(pictures: TokenPictures, images: Tensor) -> Tensor:
    """Codes (n, tokens) of pictures (n, 1, 32, 32)."""
    return torch.cat([pictures.encode(part) for part in images.split(500)])


def _save(pictures: TokenPictures, folder: Path) -> None:
    copy.deepcopy(pictures.model).half().save_pretrained(folder / "transformer")
    copy.deepcopy(pictures.vq).half().save_pretrained(folder / "vq")


def draw_sheet(pictures: TokenPictures, file: Path, rows: int = 4) -> None:
    """A column for each class, guided."""
    labels = list(range(CLASSES)) * rows
    drawn = pictures(labels, list(range(len(labels))), GUIDANCE)
    save_sheet(np.ascontiguousarray(drawn[..., 0]), file, columns=CLASSES)


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=750_000, needs_autoencoder=False)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--compile", action="store_true", help="torch.compile the causal model: a third faster")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    everything = tuple(range(CLASSES))
    training, held_out = (read_split(split, everything, arguments.data) for split in ("train", "test"))
    pictures = train(
        arguments.output,
        training,
        held_out,
        arguments.images,
        arguments.seed,
        bf16=not arguments.float32,
        compiled=arguments.compile,
    )
    draw_sheet(pictures, arguments.output / "sheet.png")


if __name__ == "__main__":
    run_recipe(main)
