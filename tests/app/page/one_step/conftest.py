"""Models of cards alone: a teacher of four steps with guidance, and a student of two; both are emoji-sd3's network."""

import json

import pytest
from samplesmith import assets
from samplesmith.training.embedded.emoji_turbo import student_pipeline

CARD = {"kind": "pipeline", "summary": "toy", "vocabulary": "emoji", "guide": "emoji-clip"}
CALL = {"max_sequence_length": 1}


@pytest.fixture
def no_student(tmp_path, monkeypatch):
    """Shipped models without those that are somebody's students; returns their folder."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in assets.names():
        if not assets.card(name).get("teacher"):
            (folder / name).symlink_to(assets.path(name))
    monkeypatch.setattr(assets, "_ROOT", folder)
    return folder


@pytest.fixture
def studio(studio, emoji_pipe, no_student):
    """One of which the only student is `toy-student`, of `toy-teacher`."""
    cards = {
        "toy-teacher": {"call_defaults": {"num_inference_steps": 4, "guidance_scale": 3.0, **CALL}},
        "toy-student": {
            "call_defaults": {"num_inference_steps": 3, "guidance_scale": 1.0, **CALL},
            "teacher": "toy-teacher",
            "shared": {"vae": "toy-teacher"},
        },
    }
    for name, more in cards.items():
        (no_student / name).mkdir()
        (no_student / name / "samplesmith.json").write_text(json.dumps(CARD | more))
    student = student_pipeline(emoji_pipe, emoji_pipe.transformer)
    student.set_progress_bar_config(disable=True)
    studio.models.keep("toy-teacher", emoji_pipe)
    studio.models.keep("toy-student", student)
    return studio


@pytest.fixture
def asked():
    """Values of the tab's fields."""
    return {
        "prompt": "a star on blue",
        "model": "toy-student",
        "verifier": "emoji-clip",
        "judge": "emoji-detector",
        "steps": "",
        "images": 2,
        "seed": 3,
    }
