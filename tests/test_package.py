"""What is installed: a light import, public names that are there, a wheel that carries the models."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import samplesmith
from samplesmith.app.page.shell import CSS
from samplesmith.app.page.time_shift.measured import TABLE
from samplesmith.valid_json import to_json

ROOT = Path(samplesmith.__file__).parent


def test_import_is_light():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, samplesmith; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"torch", "diffusers", "transformers", "numpy", "open_clip"} & set(loaded)


def test_public_names_resolve():
    for name in samplesmith.__all__:
        assert getattr(samplesmith, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = samplesmith.loda


def test_json_is_written_in_one_place():
    """NaN and infinities are no JSON, and `json.dumps` writes them."""
    for floor in ("app", "pipelines", "evaluation"):
        for file in (ROOT / floor).rglob("*.py"):
            assert "json.dump" not in file.read_text(), f"{file.relative_to(ROOT)}: write JSON by valid_json.to_json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"score": float("nan")})


def test_the_wheel_is_told_of_every_folder_of_modules_and_of_what_they_read():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    floors = ("app", "assets", "evaluation", "models", "pipelines", "samplers", "scenes", "training", "verifiers")
    folders = {file.parent.relative_to(ROOT) for floor in floors for file in (ROOT / floor).rglob("*.py")}
    assert {".".join(["samplesmith", *folder.parts]) for folder in folders} == set(told["packages"]) - {"samplesmith"}
    for package, patterns in told["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        assert all(any(folder.glob(pattern)) for pattern in patterns), package
    for read in (CSS, TABLE):
        patterns = {pattern for patterns in told["package-data"].values() for pattern in patterns}
        assert any(read.match(pattern) for pattern in patterns), f"{read} is not in the wheel"


@pytest.mark.slow
def test_wheel_and_sdist_carry_the_models_and_work_outside_of_the_checkout(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    for model in samplesmith.assets.names():
        assert any(f"assets/{model}/samplesmith.json" in name for name in names)
    assert {"samplesmith/app/page/page.css", "samplesmith/benchmarks/results/timeshift_fid.json"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "samplesmith/tests", "samplesmith/.venv"))]
    assert sdist.stat().st_size > 10_000_000

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    outer = next(path for path in sys.path if path.endswith("site-packages"))
    # The libraries of this environment, without its editable samplesmith: its finder is a .pth file, which is not read.
    code = (
        f"import sys; sys.path.append({outer!r}); import samplesmith; assert 'venv' in samplesmith.__file__; "
        "pipe = samplesmith.load('emoji-sd3'); print(type(pipe).__name__)"
    )
    run = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.strip() == "StableDiffusion3Pipeline", run.stderr
