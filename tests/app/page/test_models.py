"""What a page offers."""

import pytest
from samplesmith import assets
from samplesmith.app.page.models import Models


def test_models_offers_what_fits_and_nothing_else():
    models = Models()
    assert models.pipelines[0] == "emoji-sd3"
    assert models.guides("emoji-sd3")[0] == "emoji-clip"
    assert models.default_judge("emoji-sd3") == "emoji-detector"
    assert models.solver("emoji-sd3") == "FlowMatchEulerDiscreteScheduler"
    assert models.default_steps("emoji-sd3") == 28
    assert [models.default_side("emoji-sd3", side) for side in ("height", "width")] == [128, 128]
    turbo = "emoji-turbo"
    assert models.default_side(turbo, "height") == 128, "parts of the folder that holds them for both"
    assert models.teacher(turbo) == "emoji-sd3"
    assert turbo in models.students
    assert models.default_side("fashion-ddpm", "height") is None, "its call takes no sides"
    assert models.teacher("emoji-sd3") is None
    assert "emoji-sd3" not in models.students
    with pytest.raises(ValueError, match="no verifier 'vlm:x@http://evil' for emoji-sd3 on this page"):
        models.judge_or_guide("vlm:x@http://evil", "emoji-sd3")
    with pytest.raises(ValueError, match="no model"):
        models.pipeline("someone/else")
    assert models.guides("fashion-ddpm")[0] == "fashion-classifier", "the guide of the model's card"
    for name in models.pipelines:
        assert models.default_judge(name) != models.guides(name)[0], "a judge never chooses"
    other = Models("toys/sd", judge=None)
    assert other.pipelines == ["toys/sd", *assets.names("pipeline")]
    assert other.guides("toys/sd")[0] == "emoji-clip"
    assert other.default_judge("toys/sd") is None


def test_what_the_page_is_given_is_checked_at_its_start(tmp_path):
    for models, message in (
        (Models(dtype="float7"), "unknown dtype 'float7'"),
        (Models(str(tmp_path)), "is no pipeline: it holds no model_index.json"),
        (Models(verifiers=("luck",)), "'luck'"),
        (Models(judge="luck"), "'luck'"),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
            models.check()
        assert message in str(error.value)
    Models(verifiers=("emoji-aesthetic",), judge="emoji-detector").check()
