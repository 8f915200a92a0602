"""Imports run one way: a room knows its own floor and those below. A room is a top-level folder or a root module."""

import ast

import pytest
from package_tree import ROOT, rooms

FLOORS = [
    {"valid_json", "foreign_errors", "named_settings", "fashion", "scenes", "assets", "models"},
    {"verifiers"},
    {"samplers"},
    {"pipelines"},
    {"evaluation", "training"},
    {"app"},
]
"""From the ground up."""


def imported_rooms(file, root):
    """Line and room of each import of another room, wherever in a module it stands."""
    depth = len(file.relative_to(root).parts)  # dots that lead to the package
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            heads = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.lineno, head.split(".")[0]) for head in heads)
        for name in names:
            if name.split(".")[0] == "samplesmith":
                yield node.lineno, "samplesmith"


def faults(root, floors):
    """What is wrong with the imports of a package, a sentence each."""
    height = {name: level for level, names in enumerate(floors) for name in names}
    found = rooms(root)
    for name in sorted(found.keys() - height.keys()):
        yield f"{name} is a new room; say in FLOORS on which floor it stands"
    for name in sorted(height.keys() - found.keys()):
        yield f"{name} is no room any more; take it out of FLOORS"
    for name in found.keys() & height.keys():
        for file in found[name]:
            for line, other in imported_rooms(file, root):
                where = f"{file.relative_to(root)}:{line}"
                if other == "__version__":
                    continue
                if other not in height:
                    yield f"{where} imports {other}, which is no room; import relatively, from a room"
                elif height[other] > height[name]:
                    yield f"{where} imports {other}, which stands above it"


def test_imports_run_one_way():
    assert not list(faults(ROOT, FLOORS))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"low/a.py": "from ..high import x"}, "low/a.py:1 imports high, which stands above it"),
        ({"low/a.py": "def f():\n    from ..high.b import x"}, "low/a.py:2 imports high"),
        ({"low/deep/a.py": "from ... import low, high"}, "low/deep/a.py:1 imports high"),
        ({"ground.py": "from .low import x"}, "ground.py:1 imports low"),
        ({"ground.py": "if TYPE_CHECKING:\n    from . import high"}, "ground.py:2 imports high"),
        ({"low/a.py": "import samplesmith.high"}, "imports samplesmith, which is no room; import relatively"),
        ({"low/a.py": "from .. import load"}, "imports load, which is no room"),
        ({"new/a.py": ""}, "new is a new room; say in FLOORS"),
        ({"newer.py": ""}, "newer is a new room; say in FLOORS"),
    ],
)
def test_a_fault_is_found(tmp_path, files, fault):
    right = {"ground.py": "", "low/__init__.py": "", "high/__init__.py": "from ..low import x\nfrom .. import ground"}
    files = right | files
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (found,) = faults(tmp_path, [{"ground"}, {"low"}, {"high"}])
    assert fault in found


def test_a_room_that_is_gone_is_found(tmp_path):
    (tmp_path / "ground.py").write_text("")
    assert list(faults(tmp_path, [{"ground"}, {"low"}])) == ["low is no room any more; take it out of FLOORS"]
