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


def test_the_table_of_steering_has_rivals_first_and_what_was_gained_over_halving():
    def row(arm, budget, score):
        return {"arm": arm, "budget": budget, "seconds": 2.0, "score": {"mean": score}, "success": {"mean": 0.5}}

    gain = {"mean": 0.004, "low": -0.001, "high": 0.009}
    found = {
        "rows": [row("rbf", 224, 0.74), row("rbf", 448, 0.76), row("halving", 448, 0.756)],
        "against rivals": [
            {"arm": "rbf", "budget": 448, "against": "halving", "score": gain},
            {"arm": "rbf", "budget": 448, "against": "best-of-N", "score": {**gain, "mean": 0.1}},
        ],
    }
    assert readme_tables.steering_table(found).splitlines() == [
        "| NFEs per prompt | 224 | 448 | seconds at 448 | score over halving |",
        "|---|---|---|---|---|",
        "| halving | | .756 · .500 | 2.0 | |",
        "| rbf | .740 · .500 | .760 · .500 | 2.0 | .004 [-.001, .009] |",
    ]


def test_figures_are_written_as_the_readme_writes_them():
    estimate = {"mean": 0.7226, "low": -0.0304, "high": 1.0}
    assert readme_tables.interval(estimate) == ".723 [-.030, 1.000]"
    assert readme_tables.figure(10.3404) == "10.340"
    rows = [["", "a"], ["b", ""]]
    assert readme_tables.table(rows) == "| | a |\n|---|---|\n| b | |"
