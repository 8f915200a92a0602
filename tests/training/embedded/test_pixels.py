import numpy as np
import torch
from PIL import Image
from samplesmith.training.embedded.pixels import images_to_tensor, save_sheet, tensor_to_images


def test_pixels_come_back_from_tensors():
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3) * 2
    x = images_to_tensor(images)
    assert x.shape == (2, 3, 4, 5)
    assert x.min() == -1
    assert np.array_equal(tensor_to_images(x), images)
    assert np.array_equal(tensor_to_images(torch.full((1, 3, 1, 1), 2.0)), np.full((1, 1, 1, 3), 255))


def test_a_sheet_is_filled_row_by_row(tmp_path):
    images = np.repeat(np.arange(6, dtype=np.uint8), 4).reshape(6, 2, 2)
    save_sheet(images, tmp_path / "sheet.png", columns=3)
    assert np.asarray(Image.open(tmp_path / "sheet.png"))[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]
