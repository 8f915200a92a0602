"""What the judge sees, as the page shows it."""

import xml.etree.ElementTree as ET

from samplesmith.app.page.judged import Found, Sight, boxes_svg, right_of, sights, tick_of, verdict_html
from samplesmith.scenes import parse
from samplesmith.verifiers.detector import Sighting, Spot, Verdict


class Judge:
    """Sees a cat with its box, and a malformed thing."""

    def verdicts(self, pictures, prompts):
        seen = Sighting("pink", (Spot("cat", 32, 64, 64),), (Spot("malformed", 96, 96, 32),))
        return [Verdict(parse(prompt), seen) for prompt in prompts]


def test_boxes_lie_where_the_detector_saw_them_and_the_malformed_one_is_named():
    (sight,) = sights(Judge(), ["picture"], "a cat on pink")
    assert sight.right is False
    assert "and one malformed" in sight.words
    assert sight.found == (
        Found("cat", (0.0, 0.25, 0.5, 0.75)),
        Found("malformed", (0.625, 0.625, 0.875, 0.875), malformed=True),
    )
    svg = ET.fromstring(boxes_svg(sight))
    boxes = [(one.get("class"), float(one.get("x")), float(one.get("width"))) for one in svg.iter("rect")]
    assert boxes == [("whole", 0.0, 50.0), ("malformed", 62.5, 25.0)]
    assert [one.text for one in svg.iter("text")] == ["cat", "malformed"]


def test_a_detector_of_centres_alone_shows_small_squares():
    svg = boxes_svg(Sight(True, "", (Found("cat", (0.5, 0.5, 0.5, 0.5)),)))
    assert 'x="48.0"' in svg
    assert 'width="4.0"' in svg


def test_ticks_and_words_say_what_the_judge_says_and_no_more():
    right, wrong, scored = Sight(True, "fine"), Sight(False, "<b>"), Sight.scored("clip", 0.5)
    assert right_of([right, wrong, None, scored]) == "1 of 2 right"
    assert right_of([scored, None]) == ""
    assert "✓" in tick_of(True)
    assert "✗" in tick_of(False)
    assert tick_of(None) == ""
    assert "&lt;b&gt;" in verdict_html(wrong)
    assert "says" not in verdict_html(scored)
    assert sights(object(), ["picture"], "a cat") is None
