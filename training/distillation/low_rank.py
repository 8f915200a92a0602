"""A student of its teacher's form as a LoRA of it: what their weights differ by, at low rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def low_rank_difference(student: nn.Module, teacher: nn.Module, rank: int) -> dict[str, Tensor]:
    """Factors B A of student - teacher, for linear and convolutional layers (Hu et al., arXiv 2106.09685, eq. 3).

    Of each difference the largest singular values are kept, so that no other factors of this rank are nearer to it
    (Eckart and Young, Psychometrika 1, 1936). Biases, norms and embeddings stay the teacher's.

    Args:
        student: layers by name as the teacher has them.
        teacher: what the LoRA will be added to.
        rank: of each layer, or its smaller side where that is less.

    Returns:
        peft's names, `layer.lora_A.weight` (rank, inputs, ...) and `layer.lora_B.weight` (outputs, rank, ...), to be
        added with scale 1: what a pipeline's `save_lora_weights` takes.

    Raises:
        ValueError: where a layer of the teacher is not in the student, or of another shape.
    """
    layers, factors = dict(student.named_modules()), {}
    for name, layer in teacher.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        own = getattr(layers.get(name), "weight", None)
        if own is None or own.shape != layer.weight.shape:
            raise ValueError(
                f"the student has no layer {name} of the teacher's shape; only one of its form is a LoRA of it"
            )
        difference = (own - layer.weight).float()
        left, values, right = torch.linalg.svd(difference.flatten(1), full_matrices=False)
        kept = min(rank, len(values))
        ones = (1,) * (difference.ndim - 2)  # a convolution's second factor is one of 1 x 1
        factors[f"{name}.lora_A.weight"] = right[:kept].reshape(kept, *difference.shape[1:]).contiguous()
        factors[f"{name}.lora_B.weight"] = (left[:, :kept] * values[:kept]).reshape(-1, kept, *ones).contiguous()
    return factors
