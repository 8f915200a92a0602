"""emoji-aesthetic: `python -m samplesmith.training.embedded.aesthetic --output runs/aesthetic --autoencoder FOLDER`.

A linear head on normalised emoji-clip features, LAION v1's form, trained on pairs: the clean picture of a scene above a
degraded one of the same layout (Bradley-Terry: -log sigmoid of the difference of scores). Degraded means spoiled
sprites, blur, noise, washed colours, or a rough reconstruction. Scores are then shifted and scaled so that clean scenes
have mean 7 and degraded ones mean 4 on the training pairs, near the range that LAION's heads have.
Needs: `pip install samplesmith[train]`. About two minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from ... import assets, scenes
from ...scenes import negatives
from ...verifiers import CLIPVerifier
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from .autoencoder import reconstruct
from .command_line import recipe_parser, run_recipe
from .pixels import images_to_tensor

CLEAN_MEAN, DEGRADED_MEAN = 7.0, 4.0
EPOCHS, EVALUATE_EVERY, LEARNING_RATE = 400, 100, 0.05
HELD_OUT_SEED, HELD_OUT_PAIRS = 31, 1000
DEGRADATIONS = ("spoiled", "blurred", "noisy", "washed", "rough")


def degrade(x: Tensor, spoiled: Tensor, kind: str, autoencoder: AutoencoderKL, generator: torch.Generator) -> Tensor:
    """Pictures that are made worse in one way.

    Args:
        x: pictures (batch, 3, height, width) in [-1, 1].
        spoiled: the same scenes with one or two broken sprites.
        kind: a name in `DEGRADATIONS`.
        autoencoder: of rough pictures.
        generator: of noise.

    Raises:
        ValueError: for another kind.
    """
    match kind:
        case "spoiled":
            return spoiled
        case "blurred":
            return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
        case "noisy":
            return (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)
        case "washed":
            return 0.5 * x + 0.3
        case "rough":
            z = autoencoder.encode(x).latent_dist.mode()
            z = z + 0.5 * z.std() * torch.randn(z.shape, generator=generator)
            return autoencoder.decode(z).sample.clamp(-1, 1)
    raise ValueError(f"{kind!r} is no degradation; known: {', '.join(DEGRADATIONS)}")


@torch.no_grad()
@torch.autocast("cpu", dtype=torch.bfloat16)
def pairs(count: int, autoencoder: AutoencoderKL, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Features of clean and degraded pictures, (count, dim) each, and the kind of each degradation."""
    clip = CLIPVerifier.load(assets.path("emoji-clip"))
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    clean, degraded = [], []
    kinds: list[str] = []
    for start in range(0, count, 50):
        images, drawn = scenes.draw_batch(rng, 50)
        broken = [(negatives.spoil if k % 3 else negatives.merge)(rng, picture) for k, picture in enumerate(drawn)]
        x, spoiled = images_to_tensor(images), images_to_tensor(np.stack([picture.image for picture in broken]))
        if start // 50 % 2:  # half of the clean pictures are what the autoencoder makes of a clean picture
            x, spoiled = reconstruct(autoencoder, x), reconstruct(autoencoder, spoiled)
        kind = DEGRADATIONS[start // 50 % len(DEGRADATIONS)]
        worse = degrade(x, spoiled, kind, autoencoder, generator)
        clean.append(clip.image_features((x + 1) / 2))
        degraded.append(clip.image_features((worse + 1) / 2))
        kinds += [kind] * 50
    return torch.cat(clean).float(), torch.cat(degraded).float(), kinds


class PreferenceTask:
    """The clean picture of each pair above the degraded one, all pairs in every step.

    Args:
        clean, degraded: features (pairs, dim).
    """

    def __init__(self, clean: Tensor, degraded: Tensor):
        self.clean, self.degraded = clean, degraded
        self.networks = nn.utils.skip_init(nn.Linear, clean.shape[1], 1)
        for parameter in self.networks.parameters():
            nn.init.zeros_(parameter)
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=LEARNING_RATE)

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        difference = self.networks(self.clean) - self.networks(self.degraded)
        loss = -F.logsigmoid(difference).mean() + 1e-5 * self.networks.weight.square().sum()
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        better = self.networks(self.clean) > self.networks(self.degraded)
        return {"better": better.float().mean()}


@torch.no_grad()
def scale_scores(head: nn.Linear, clean: Tensor, degraded: Tensor) -> None:
    """Shift and scale a head, so that clean features (pairs, dim) have mean 7 and degraded ones mean 4."""
    high, low = head(clean).mean(), head(degraded).mean()
    factor = (CLEAN_MEAN - DEGRADED_MEAN) / (high - low)
    head.weight *= factor
    head.bias.copy_(CLEAN_MEAN - factor * (high - head.bias))


def train(output: Path, autoencoder: AutoencoderKL, count: int, seed: int) -> dict[str, float]:
    """Fit the head, or go on, write it, and return its pairwise accuracy on held-out pairs, overall and by degradation.

    Args:
        output: folder of the run; the head is left in its folder `emoji-aesthetic`.
        autoencoder: that makes pictures rough.
        count: of training pairs, a multiple of 50.
        seed: of the pairs.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    clean, degraded, _ = pairs(count, autoencoder, seed)
    task = PreferenceTask(clean, degraded)
    settings = LoopSettings(
        EPOCHS * count, count, seed, cpu=True, evaluate_every=EVALUATE_EVERY, about={"recipe": "aesthetic"}
    )
    Loop(output, task, settings).run()
    head = task.networks
    scale_scores(head, clean, degraded)
    folder = output / "emoji-aesthetic"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.half().contiguous() for name, value in head.state_dict().items()}, folder / "model.safetensors"
    )

    clean, degraded, kinds = pairs(HELD_OUT_PAIRS, autoencoder, HELD_OUT_SEED)
    with torch.no_grad():
        better = (head(clean) > head(degraded))[:, 0].numpy()
    by_kind = {kind: float(better[np.array(kinds) == kind].mean()) for kind in DEGRADATIONS}
    return {"all": float(better.mean()), **by_kind}


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=2500)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval()
    print(train(arguments.output, autoencoder, arguments.images, arguments.seed))


if __name__ == "__main__":
    run_recipe(main)
