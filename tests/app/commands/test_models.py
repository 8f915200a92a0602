"""`samplesmith models`: what is shipped, and what a pipeline can do."""

import json

from samplesmith import assets
from samplesmith.app.commands import options


def test_models_are_named_in_full_in_a_narrow_terminal(samplesmith, monkeypatch):
    monkeypatch.setattr(options.console, "_width", 80)
    table = samplesmith("models").stdout
    for name in assets.names():
        assert name in table


def test_models_says_what_a_pipeline_can_do(samplesmith):
    answers = json.loads(samplesmith("models", "--pipeline", "emoji-sd3", "--json").stdout)
    assert answers["pipeline"] == "StableDiffusion3Pipeline"
    assert set(answers["methods"].values()) == {None}
    table = samplesmith("models", "--pipeline", "fashion-ddpm")
    assert table.returncode == 0
    assert "halving" in table.stdout
    assert "no flow" in " ".join(table.stdout.split())
    nowhere = samplesmith("models", "--pipeline", "no/such/folder")
    assert nowhere.returncode == 2
