"""`samplesmith evaluate` as a user meets it."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith.evaluation import compare
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.evaluation.image_batches import image_files
from toys import build

FID = ("evaluate", "fid")


def fill(folder, count, seed=0, side=32):
    folder.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{k}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    fill(root / "real", 12)
    fill(root / "made", 10, seed=1)
    (root / "prompts.txt").write_text("a star on blue\na cat on pink\n")
    build("DiT").save_pretrained(root / "dit")
    index = json.loads((root / "dit/model_index.json").read_text())
    (root / "dit/model_index.json").write_text(json.dumps({**index, "id2label": {"0": "tench", "1": "shark"}}))
    return root


def test_two_folders(samplesmith, folders, tmp_path):
    arguments = [*FID, "--real", folders / "real", "--generated", folders / "made", "--features", "emoji-clip"]
    run = samplesmith(*arguments, "--batch-size", 5, "--output", "out", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert json.loads((tmp_path / "out/fid.json").read_text()) == found
    assert found.pop("features") == "emoji-clip"
    expected = compare(folders / "real", folders / "made", load_features("emoji-clip")[1])
    assert found == pytest.approx(vars(expected), rel=1e-4)
    assert (found["real"], found["generated"]) == (12, 10)
    table = samplesmith(*arguments).stdout
    assert f"{found['fid']:.4g} ±" in table
    assert f"{found['precision']:.3f}" in table


def test_a_model_is_measured_by_the_images_that_it_would_make_alone(samplesmith, folders, tmp_path, fails):
    arguments = [*FID, "--real", folders / "real", "--features", "emoji-clip"]
    of_model = ["--model", "emoji-sd3", "--prompts", folders / "prompts.txt", "--images", 5, "--steps", 2, "--seed", 3]
    run = samplesmith(*arguments, *of_model, "--scheduler", "flow-euler", "--output", "out", "--json")
    assert run.returncode == 0, run.stderr
    files = image_files(tmp_path / "out")
    assert [file.name for file in files] == [f"{k:06d}.png" for k in range(5)]
    samplesmith("sample", "a cat on pink", "--num-images", 1, "--steps", 2, "--seed", 4, "--output", "alone")
    alone, second = (np.asarray(Image.open(one)).astype(int) for one in (tmp_path / "alone/seed_4.png", files[1]))
    assert np.abs(alone - second).max() <= 1

    again = samplesmith(*arguments, "--seed", 3, "--generated", "out/images", "--json")
    # What draws or groups the images follows their numbers, not the order in which they were made.
    for key in ("fid", "fid_error", "kid_mean", "kid_std", "precision", "recall"):
        assert json.loads(again.stdout)[key] == pytest.approx(json.loads(run.stdout)[key], rel=1e-4)
    fails("out/images holds images already", *arguments, *of_model, "--output", "out")


def test_labels_and_another_scheduler(samplesmith, folders):
    arguments = [*FID, "--real", folders / "real", "--features", "emoji-clip", "--model", folders / "dit"]
    arguments += ["--images", 6, "--steps", 2, "--json"]

    def distance(*more):
        run = samplesmith(*arguments, *more)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)["fid"]

    every = distance()
    assert every == pytest.approx(distance("--labels", "tench,shark"), rel=1e-4)
    assert every == pytest.approx(distance("--labels", "0-1"), rel=1e-4)
    assert every != pytest.approx(distance("--scheduler", "dpmsolver++"), rel=1e-4)
    assert every != pytest.approx(distance("--labels", "1"), rel=1e-4)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("just one of --generated FOLDER and --model MODEL", []),
        ("just one of --generated FOLDER and --model MODEL", ["--generated", "made", "--model", "emoji-sd3"]),
        ("no folder nowhere", ["--generated", "nowhere"]),
        ("--steps: for images that --model makes", ["--generated", "made", "--steps", 3]),
        ("--images is 2", ["--model", "emoji-sd3", "--images", 2]),
        ("no features are named; give one of emoji-clip", ["--generated", "made"]),
        ("unknown features 'emoji-clop'", ["--generated", "made", "--features", "emoji-clop"]),
        ("no file none.pth", ["--generated", "made", "--inception-weights", "none.pth"]),
        ("3 neighbours need at least 4", ["--generated", "few", "--features", "emoji-clip"]),
        ("unknown word 'dragon'", ["--model", "emoji-sd3", "--prompts", "dragon.txt"]),
        ("just one of --prompts and --labels", ["--model", "dit", "--prompts", "dragon.txt", "--labels", "1"]),
        ("--labels is ','", ["--model", "dit", "--labels", ","]),
        ("'whale' is no class label", ["--model", "dit", "--labels", "whale"]),
        ("unknown scheduler 'magic'", ["--model", "dit", "--scheduler", "magic"]),
        ("unknown scheduler 'DiTPipeline'", ["--model", "dit", "--scheduler", "DiTPipeline"]),
        ("cannot stand in for DDIMScheduler", ["--model", "dit", "--scheduler", "flow-euler"]),
        ("StableDiffusion3Pipeline has no named class labels", ["--model", "emoji-sd3"]),
    ],
)
def test_bad_input(fails, folders, monkeypatch, message, arguments):
    monkeypatch.chdir(folders)
    fill(folders / "few", 2)
    (folders / "dragon.txt").write_text("a dragon on blue\n")
    features = [] if {"--features", "--generated"} & set(arguments) else ["--features", "emoji-clip"]
    fails(message, *FID, "--real", "real", *features, *arguments)


def test_fashion_mnist_is_a_real_set(samplesmith, fails, folders, monkeypatch, tmp_path):
    """Pictures of 28 px get the border with which our models make them."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8)
    for name, values in {"images-idx3": pixels, "labels-idx1": np.zeros(8, np.uint8)}.items():
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    monkeypatch.setenv("SAMPLESMITH_FASHION_MNIST", str(tmp_path))
    made = ["--generated", folders / "made", "--features", "emoji-clip", "--json"]
    run = samplesmith(*FID, "--real", "fashion-mnist-test", *made)
    assert run.returncode == 0, run.stderr
    padded = torch.nn.functional.pad(torch.from_numpy(pixels), (2, 2, 2, 2))
    expected = compare(padded, folders / "made", load_features("emoji-clip")[1])
    assert json.loads(run.stdout)["fid"] == pytest.approx(expected.fid, rel=1e-4)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    fails("t10k-images-idx3-ubyte.gz is damaged", *FID, "--real", "fashion-mnist-test", *made)


def test_statistics_in_a_file(samplesmith, folders, tmp_path, fails):
    features = extract_features(folders / "real", load_features("emoji-clip")[1]).double().numpy()
    np.savez(tmp_path / "real.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    arguments = ["--generated", folders / "made", "--features", "emoji-clip"]
    whole = json.loads(samplesmith(*FID, "--real", folders / "real", *arguments, "--json").stdout)
    found = json.loads(samplesmith(*FID, "--real", "real.npz", *arguments, "--json").stdout)
    assert found["fid"] == pytest.approx(whole["fid"], rel=1e-4)
    assert (found["real"], found["generated"], found["kid_mean"], found["recall"]) == (None, 10, None, None)
    assert "holds statistics alone" in found["reason"]
    assert "holds statistics alone" in samplesmith(*FID, "--real", "real.npz", *arguments).stdout
    fails("no file none.npz", *FID, "--real", "none.npz", *arguments)


def test_an_output_that_cannot_be_written_is_told_first_and_numbers_are_printed(
    samplesmith, fails, folders, tmp_path, monkeypatch
):
    arguments = [*FID, "--real", folders / "real", "--generated", folders / "made", "--features", "emoji-clip"]
    (tmp_path / "taken").write_text("")
    with monkeypatch.context() as patch:
        module = sys.modules["samplesmith.evaluation.features"]
        patch.setattr(module, "gathered_features", lambda *_: pytest.fail("paid for nothing"))
        fails("cannot write to the folder taken", *arguments, "--output", "taken")
    (tmp_path / "out/fid.json").mkdir(parents=True)
    run = samplesmith(*arguments, "--output", "out", "--json")
    assert run.returncode == 2
    assert json.loads(run.stdout)["real"] == 12
    assert "out/fid.json cannot be written" in run.stderr


def test_a_terminal_without_the_plus_minus_sign(folders):
    """As a process of its own, whose stdout knows ASCII alone."""
    command = [sys.executable, "-m", "samplesmith", *FID, "--real", folders / "real", "--generated", folders / "made"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run([*command, "--features", "emoji-clip"], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "+/-" in run.stdout


def test_help_has_an_example(samplesmith):
    assert "Example:" in samplesmith(*FID, "--help").stdout
    assert "fid" in samplesmith("evaluate", "--help").stdout


@pytest.mark.slow
def test_processes_share_the_work(samplesmith, folders):
    arguments = [*FID, "--real", folders / "real", "--features", "emoji-clip", "--model", folders / "dit"]
    arguments = [*map(str, arguments), "--images", "6", "--steps", "2", "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "samplesmith"]
    run = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    alone = json.loads(samplesmith(*arguments).stdout)
    assert json.loads(run.stdout).pop("features") == alone.pop("features")
    for key, value in alone.items():  # pictures of other batches may differ by a level
        assert json.loads(run.stdout)[key] == pytest.approx(value, rel=2e-2), key

    of_folders = [*map(str, FID), "--real", str(folders / "real"), "--generated", str(folders / "made")]
    of_folders += ["--features", "emoji-clip", "--json"]
    run = subprocess.run([*command, *of_folders], capture_output=True, text=True)
    alone, together = (json.loads(text) for text in (samplesmith(*of_folders).stdout, run.stdout))
    for key in ("fid", "fid_error", "kid_mean", "kid_std", "precision", "recall"):
        assert together[key] == pytest.approx(alone[key], abs=1e-6), key
    fill(folders / "unlike", 6)
    for k in (1, 3, 5):  # all that the second process gets
        Image.new("RGB", (64, 64)).save(folders / f"unlike/{k}.png")
    run = subprocess.run(
        [*command, *of_folders[:4], "--generated", str(folders / "unlike"), "--features", "emoji-clip"],
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "the generated images differ" in " ".join(run.stderr.split())
