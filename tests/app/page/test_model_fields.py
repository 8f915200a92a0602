"""The boxes for model, verifier and judge."""

import gradio as gr
from samplesmith.app.page.model_fields import NO_JUDGE, ModelFields, judge_of
from samplesmith.app.page.models import Models


def fields(verifier="Verifier"):
    with gr.Blocks():
        return ModelFields(Models(), "Judge", verifier)


def test_the_boxes_follow_the_model_and_never_judge_by_what_chooses():
    boxes = fields()
    assert list(boxes.boxes) == ["model", "verifier", "judge"]
    assert boxes.first("emoji-sd3") == {"model": "emoji-sd3", "verifier": "emoji-clip", "judge": "emoji-detector"}
    first = boxes.first("fashion-ddpm")
    assert first["judge"] != first["verifier"]
    _, guide, judge = boxes.follow("fashion-ddpm", "emoji-clip", "emoji-detector")
    assert guide["value"] == first["verifier"]
    assert judge["value"] == first["judge"]
    _, guide, judge = boxes.follow("emoji-sd3", "emoji-aesthetic", NO_JUDGE)
    assert "value" not in guide, "what fits stays as it is"
    assert "value" not in judge
    assert "emoji-aesthetic" in guide["choices"]
    assert judge_of(NO_JUDGE) is None
    assert judge_of("emoji-detector") == "emoji-detector"


def test_a_tab_may_offer_some_models_alone():
    with gr.Blocks():
        boxes = ModelFields(Models(), "Judge", "Verifier", "Student", ["fashion-ddpm"])
    assert boxes.model.label == "Student"
    assert {name: box.value for name, box in boxes.boxes.items()} == boxes.first("fashion-ddpm")
    assert [value for value, _ in boxes.model.choices] == ["fashion-ddpm"]


def test_a_tab_in_which_nothing_is_chosen_has_no_verifier():
    boxes = fields(verifier=None)
    assert list(boxes.boxes) == ["model", "judge"]
    assert len(boxes.follow("emoji-sd3", "emoji-detector")) == 2
