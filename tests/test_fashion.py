import gzip
import struct

import numpy as np
import pytest
from samplesmith import fashion


def write_idx(file, array, compressed=True):
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    file.write_bytes(gzip.compress(data) if compressed else data)


def write_data_set(folder, compressed=True, count=5):
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 10
    end = ".gz" if compressed else ""
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte{end}", images, compressed)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{end}", labels, compressed)
    return images, labels


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_what_was_written(tmp_path, split, compressed):
    written = write_data_set(tmp_path, compressed)
    for read, expected in zip(fashion.load(split, tmp_path), written, strict=True):
        assert read.dtype == np.uint8
        assert np.array_equal(read, expected)


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    images, _ = write_data_set(tmp_path)
    monkeypatch.setenv("SAMPLESMITH_FASHION_MNIST", str(tmp_path))
    assert np.array_equal(fashion.load("train")[0], images)


def test_a_missing_data_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLESMITH_FASHION_MNIST", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        fashion.load("test")


def test_unknown_split():
    with pytest.raises(ValueError, match="unknown split 'validation'; known: train, test"):
        fashion.load("validation")


@pytest.mark.parametrize("cut", [7, 20, -1])
def test_a_cut_file_is_one_sentence(tmp_path, cut):
    write_data_set(tmp_path, compressed=False)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ValueError, match="no whole idx file of 3 dimensions"):
        fashion.load("train", tmp_path)


def test_a_cut_archive_is_one_sentence(tmp_path):
    write_data_set(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        fashion.load("train", tmp_path)
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is damaged"):
        fashion.load("train", tmp_path)


def test_labels_must_fit_the_images(tmp_path):
    write_data_set(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match=r"no Fashion-MNIST: .*\(5, 28, 28\) and 4 labels"):
        fashion.load("train", tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.full(5, 10, np.uint8))
    with pytest.raises(ValueError, match="no Fashion-MNIST"):
        fashion.load("train", tmp_path)


def test_the_real_data_set():
    try:
        images, labels = fashion.load("train")
        held_out, _ = fashion.load("test")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert len(images) == 60_000
    assert len(held_out) == 10_000
    assert np.bincount(labels).tolist() == [6000] * 10
    assert 72 < images.mean() < 74


def test_padding_is_a_black_border():
    images = np.full((2, 28, 28), 9, np.uint8)
    padded = fashion.pad(images)
    assert padded.shape == (2, 32, 32)
    assert np.array_equal(padded[:, 2:-2, 2:-2], images)
    assert padded.sum() == images.sum()


def test_the_two_subsets_share_no_class_and_leave_none():
    assert sorted(fashion.TOPS + fashion.REST) == list(range(len(fashion.CLASSES)))
    assert [fashion.CLASSES[k] for k in fashion.TOPS] == ["T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"]
