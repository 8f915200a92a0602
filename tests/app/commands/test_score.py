"""`samplesmith score` reads what a folder holds as a viewer shows it, one picture at a time."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

EASY = "a star on blue"


class TestPictures:
    """`score` reads what a folder holds as a viewer shows it, one picture at a time."""

    def test_subfolders_and_formats(self, samplesmith, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        names = ["a.png", "b/c.bmp", "b/d/e.avif", "f.gif", "[/red].tiff"]
        for name in names:
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "in" / name)
        run = samplesmith("score", "in", "--prompt", EASY, "--json")
        assert run.returncode == 0, run.stderr
        found = {row["file"]: row["score"] for row in json.loads(run.stdout)}
        assert set(found) == {f"in/{name}" for name in names}
        assert found["in/a.png"] == pytest.approx(found["in/b/c.bmp"], abs=1e-6)
        table = samplesmith("score", "in", "--prompt", EASY).stdout
        assert all(name in table for name in names)

    def test_a_prompt_is_asked_for_where_the_verifier_reads_it(self, samplesmith, fails, tmp_path):
        Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
        fails("emoji-clip compares images with a prompt; say by --prompt", "score", ".")
        assert samplesmith("score", ".", "--verifier", "emoji-aesthetic").returncode == 0
        fails("emoji-clip cannot read the prompt: unknown word 'photo'", "score", ".", "--prompt", "a photo of a cat")

    def test_what_cannot_be_read_is_named(self, fails, tmp_path):
        files = {
            "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "bomb.png": _huge_png(),
            "torn.jpg": b"\xff\xd8\xff",
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            fails(f"{name}", "score", ".", "--prompt", EASY)
            (tmp_path / name).unlink()

    @pytest.mark.slow
    def test_many_photos_take_bounded_memory(self, tmp_path):
        """Twelve pictures of 12 megapixels are 430 MB in 8 bits and 1.7 GB as floats."""
        photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        for k in range(12):
            Image.fromarray(np.roll(photo, k, 0)).resize((4000, 3000)).save(tmp_path / f"{k}.jpg")
        code = (
            "import resource, sys, samplesmith.evaluation; from samplesmith.app import cli\n"
            "__import__('samplesmith').verifiers.load_verifier('emoji-clip')\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"sys.argv = ['samplesmith', 'score', {str(tmp_path)!r}, '--prompt', {EASY!r}]\n"
            "try: cli.main()\n"
            "except SystemExit as end: assert not end.code\n"
            "print('MB', (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert int(run.stdout.split("MB")[-1]) < 900


def _huge_png():
    """A picture of 40,000 x 40,000 pixels by its header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
