"""Rules of this house that no linter knows; CONTRIBUTING.md gives their reasons."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from package_tree import ROOT, sources

OUTSIDE = ("tests/", "benchmarks/")
LONGEST = 400


def test_no_file_is_too_long_to_read():
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in sources()}
    assert not {name: count for name, count in lines.items() if count > LONGEST}


def mirrored(name):
    """What a test file is named after: a module, a folder of modules, or a page of docs/."""
    path = Path(name)
    module = Path(*path.parts[1:-1], path.stem.removeprefix("test_"))
    page = Path("docs", module.name.removesuffix("_page") + ".md")
    return (ROOT / f"{module}.py").is_file() or (ROOT / module).is_dir() or (ROOT / page).is_file()


def test_a_test_is_named_after_its_module_or_says_what_it_is_about():
    tests = [name for name in sources() if Path(name).name.startswith("test_")]
    assert len(tests) > 100
    silent = [
        name for name in tests if not mirrored(name) and not ast.get_docstring(ast.parse((ROOT / name).read_text()))
    ]
    assert not silent, "name it after the module that it tests, or say in a docstring what it is about"


def asks_for_a_class_name(source):
    """Lines that compare the name of an object's class, or look into it."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            looked = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            looked = [node.func.value] if node.func.attr in ("startswith", "endswith", "find", "count") else []
            looked += node.args if getattr(node.func.value, "id", "") == "re" else []
        elif isinstance(node, ast.Match):
            looked = [node.subject]
        elif isinstance(node, ast.Subscript):
            looked = [node.slice]
        else:
            continue
        lines |= {one.lineno for part in looked for one in ast.walk(part) if is_class_name(one)}
    return sorted(lines)


def is_class_name(node):
    """`type(x).__name__` or `x.__class__.__name__`."""
    if not isinstance(node, ast.Attribute) or node.attr not in ("__name__", "__qualname__"):
        return False
    of = node.value
    called = isinstance(of, ast.Call) and getattr(of.func, "id", "") == "type"
    return called or (isinstance(of, ast.Attribute) and of.attr == "__class__")


@pytest.mark.parametrize(
    "source",
    [
        "type(pipe).__name__ == 'FluxPipeline'",
        "'Flux' in type(pipe).__name__",
        "pipe.__class__.__name__ in NAMES",
        "'flux' in type(pipe).__name__.lower()",
        "type(x).__name__.startswith('Flux')",
        "re.match('Flux', type(x).__name__)",
        "match type(x).__name__:\n    case 'Flux':\n        pass",
        "FORMS[type(x).__qualname__]",
    ],
)
def test_a_class_name_that_is_asked_for_is_seen(source):
    assert asks_for_a_class_name(source)


def test_a_class_name_that_is_said_is_left():
    assert not asks_for_a_class_name("f'{type(x).__name__} is no flow'\nrecord = {'class': type(x).__name__}\nx == y")


def test_behaviour_does_not_hang_on_class_names():
    """What an object can do is read in its values, its signatures, its classes; else in `samplers/compat.py`."""
    found = [
        f"{name}:{line}"
        for name in sources()
        if not name.startswith("tests/") and name != "samplers/compat.py"
        for line in asks_for_a_class_name((ROOT / name).read_text())
    ]
    assert not found


def test_what_the_linters_are_told_to_overlook_has_a_rule_and_a_reason():
    bare = re.compile(r"#\s*(noqa(?!: [A-Z]+[0-9]+\b.*\()|type:\s*ignore(?!\[[a-z, -]+\].*\())")
    found = [
        f"{name}:{number}"
        for name in sources()
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if bare.search(line) and not name.endswith("test_house_rules.py")
    ]
    assert not found, "name the rule, and give the reason in brackets: # noqa: B018 (the access raises)"


def test_no_lint_rule_is_selected_and_then_ignored():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "ignore" not in lint
    assert all(folder.split("/")[0] in ("tests", "benchmarks") for folder in lint["per-file-ignores"])


def test_what_contributing_names_is_there():
    """Every path and every registry of the table."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:[\w.]+/)+[\w.]*)`|\]\(([\w./]+)\)", page)
    missing = [path for path in map("".join, paths) if "NAME" not in path and not (ROOT / path).exists()]
    assert [path for path in missing if path not in ("a/b.py", "tests/a/test_b.py")] == []
    registries = re.findall(r"`([A-Z]{4,})` in `([\w/]+\.py)`", page)
    assert len(registries) >= 6
    for name, file in registries:
        assert re.search(rf"^{name}\b.*= ", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {name}"


def test_every_package_is_in_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {str(Path(name).parent) for name in sources() if not name.startswith(OUTSIDE)} - {"."}
    assert listed == {"samplesmith", *(f"samplesmith.{folder.replace('/', '.')}" for folder in folders)}
