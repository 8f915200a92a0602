"""Pictures of ten classes that differ in bright rows and columns, for the tests of the Fashion-MNIST recipes."""

import torch


def stripes(count: int, seed: int, classes=tuple(range(10))) -> tuple[torch.Tensor, torch.Tensor]:
    """Class k is a bright row and a bright column that its number places, under a little noise; in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.arange(count) % len(classes)]
    images = 0.2 * torch.rand(count, 1, 32, 32, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 + 5 * (label // 2) : 7 + 5 * (label // 2)] += 0.7
        if label % 2:
            image[0, :, 14:18] += 0.7
    return images.clamp(0, 1), labels


def signed(split):
    """The same in [-1, 1]."""
    return split[0] * 2 - 1, split[1]
