"""The README and the pages say what benchmarks/results say."""

import importlib.util
from pathlib import Path

import pytest
import samplesmith

ROOT = Path(samplesmith.__file__).parent
spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "benchmarks/readme_tables.py")
readme_tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme_tables)


@pytest.mark.parametrize("table", readme_tables.TABLES, ids=lambda table: table.__name__)
def test_readme_holds_the_measured_table(table):
    assert table() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("page", "table"), [(page, table) for page, tables in readme_tables.PAGES.items() for table in tables]
)
def test_pages_hold_their_measured_tables(page, table):
    assert table() in (ROOT / page).read_text()


def test_figures_are_written_as_the_readme_writes_them():
    estimate = {"mean": 0.7226, "low": -0.0304, "high": 1.0}
    assert readme_tables.interval(estimate) == ".723 [-.030, 1.000]"
    assert readme_tables.figure(10.3404) == "10.340"
    rows = [["", "a"], ["b", ""]]
    assert readme_tables.table(rows) == "| | a |\n|---|---|\n| b | |"
