"""docs/reliability.md says what was measured."""

import json
from pathlib import Path

import samplesmith


def test_the_figures_of_the_reliability_page_are_those_of_its_script():
    root = Path(samplesmith.__file__).parent
    text = (root / "docs/reliability.md").read_text()
    found = json.loads((root / "benchmarks/results/web_visitors.json").read_text())
    everyone = found["visitors"] * found["rounds"]
    assert f"| answers after its start | {found['answered after seconds']:.1f} s |" in text
    assert (
        f"the models loaded on the way | {found['first search, models loaded on the way']['seconds']:.1f} s |" in text
    )
    assert f"| {found['outcomes']['result']} of {everyone} |" in text
    assert f"| {found['outcomes']['polite']} of {everyone}, within " in text
    assert f"| longest wait for a result | {found['longest wait for a result in seconds']:.1f} s |" in text
    assert f"{found['resident megabytes before']:,.0f} MB; " in text
    assert all(f"{memory:,.0f}" in text for memory in found["resident megabytes after each round"])
    assert not found["neither"]
    assert not found["pictures left on disk"]
