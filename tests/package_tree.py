"""The files of the package, by rooms: top-level folders and root modules."""

import subprocess
from pathlib import Path

import samplesmith

ROOT = Path(samplesmith.__file__).parent
FACES = {"__init__", "__main__"}
"""Doors of the package, from which everything is reached."""

OUTSIDE = {"tests", "benchmarks", "docs", "build", "dist", "outputs", "runs"}
"""Folders that are no part of the package."""


def rooms(root):
    """The modules of each room by its name."""
    found = {file.stem: [file] for file in root.glob("*.py") if file.stem not in FACES}
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in OUTSIDE and not folder.name.startswith((".", "_")):
            found[folder.name] = sorted(folder.rglob("*.py"))
    return {name: files for name, files in found.items() if files}


def sources():
    """Python files that git tracks, or would, as paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in listed.stdout.split() if (ROOT / name).is_file()]
