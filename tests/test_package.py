"""What is installed: a light import, public names that are there, a wheel that carries the models."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import samplesmith
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


@pytest.mark.slow
def test_wheel_and_sdist_carry_the_models_and_work_outside_of_the_checkout(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    for model in samplesmith.assets.names():
        assert any(f"assets/{model}/samplesmith.json" in name for name in names)
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
