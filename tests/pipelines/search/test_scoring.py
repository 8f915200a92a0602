import numpy as np
import pytest
import torch
from fakes import Brightness
from samplesmith.pipelines.search.scoring import judge_name, score_batch
from samplesmith.verifiers import RankEnsemble, SelfSupervisedVerifier, Verifier, VerifierUnavailable


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def brightness(images):
    return images.mean((1, 2, 3)) / 255


def settled(name="settled"):
    return SelfSupervisedVerifier(lambda pictures: pictures.mean((2, 3)), name)


def test_scores_and_reasons_of_each_candidate(images):
    levels = brightness(images)
    limit = np.sort(levels)[-2] + 1e-6
    with pytest.warns(UserWarning, match="candidate lost"):
        found = score_batch(Brightness(fail_above=limit), images, [False, True, True, True], "x")
    scores, reasons = [one.scores for one in found], [one.reason for one in found]
    for k in range(4):
        if k == 0:
            assert reasons[k] == "the image has NaN or was blacked"
        elif levels[k] > limit:
            assert reasons[k] == "brightness raised RuntimeError: too bright for me"
        else:
            assert reasons[k] is None
            assert scores[k]["brightness"] == pytest.approx(levels[k], abs=1e-6)
        assert (scores[k]["brightness"] is None) == (reasons[k] is not None)
    assert sum(reason is not None and "too bright" in reason for reason in reasons) == int(levels.argmax() != 0)


def test_previews_reach_the_verifiers_that_need_them(images):
    previews = np.random.default_rng(1).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    guide = RankEnsemble([Brightness(), settled()])
    found = score_batch(guide, images, [True] * 4, "x", previews, Brightness("judge"))
    a, b = images.mean((1, 2)), previews.mean((1, 2))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert [one.reason for one in found] == [None] * 4
    assert [one.scores["settled"] for one in found] == pytest.approx(expected, abs=1e-5)
    assert all(set(one.scores) == {"brightness", "settled", "judge"} for one in found)


def test_previews_stay_with_their_images_when_one_fails(images):
    def features(pictures):
        if (pictures.mean((1, 2, 3)) > 0.9).any():
            raise RuntimeError("too bright")
        return pictures.mean((2, 3))

    images[2] = 255
    previews = np.random.default_rng(1).integers(0, 200, images.shape, dtype=np.uint8)
    guide = SelfSupervisedVerifier(features, "settled")
    with pytest.warns(UserWarning, match="too bright"):
        found = score_batch(guide, images, [True] * 4, "x", previews)
    assert [one.reason is None for one in found] == [True, True, False, True]
    kept = [0, 1, 3]
    again = score_batch(guide, images[kept], [True] * 3, "x", previews[kept])
    expected = [one.scores["settled"] for one in again]
    assert [found[k].scores["settled"] for k in kept] == pytest.approx(expected, abs=1e-6)


def test_missing_previews_are_one_sentence_and_lose_no_candidate(images):
    with pytest.raises(ValueError, match="settled compares images with earlier previews of them"):
        score_batch(Brightness(), images, [True] * 4, "x", judge=settled())


def test_a_verifier_that_evaluates_in_its_own_way_needs_to_know_nothing_of_previews(images):
    class Own(Brightness):
        def evaluate(self, images, prompts):
            return {"own": self(images, prompts)}

    found = score_batch(Own(), images, [True] * 4, "x", images)
    assert [one.scores["own"] for one in found] == pytest.approx(brightness(images), abs=1e-6)


def test_a_verifier_that_can_score_nothing_stops_the_search(images):
    class Down(Verifier):
        calls = 0

        def score(self, images, prompts, previews=None):
            self.calls += 1
            raise VerifierUnavailable("http://judge refuses the API key (HTTP 401)")

    down = Down()
    with pytest.raises(VerifierUnavailable, match="refuses the API key"):
        score_batch(down, images, [True] * 4, "x")
    assert down.calls == 1
    assert torch.is_grad_enabled()


class Returns(Verifier):
    """Gives what a function makes of the images; no own checks stand between."""

    def __init__(self, name, function):
        self.name, self.function = name, function

    def score(self, images, prompts, previews=None):
        return self.function(images)

    def evaluate(self, images, prompts, previews=None):
        return {self.name: self.function(images)}


def raises(images):
    raise RuntimeError("the answer is prose")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raises, "judge raised RuntimeError: the answer is prose"),
        (lambda images: torch.full((len(images),), torch.nan), "judge gave NaN"),
        (lambda images: torch.full((len(images),), torch.inf), "judge gave inf"),
        (lambda images: torch.zeros(2 * len(images)), "judge raised ValueError: judge gave scores of shape (2,)"),
    ],
)
def test_a_judge_that_fails_loses_its_judgement_alone(images, function, reason):
    plain = score_batch(Brightness(), images, [True] * 4, "x")
    with pytest.warns(UserWarning, match="no score of the judge"):
        found = score_batch(Brightness(), images, [True] * 4, "x", judge=Returns("judge", function))
    for one, other in zip(found, plain, strict=True):
        assert one.scores == {**other.scores, "judge": None}
        assert one.reason is None
        assert one.missing["judge"].startswith(reason)


def test_the_same_failures_of_a_guide_lose_the_candidate(images):
    for function in (raises, lambda x: x.mean((1, 2, 3)) / 0, lambda x: torch.zeros(len(x), 1)):
        with pytest.warns(UserWarning, match="candidate lost"):
            found = score_batch(Returns("guide", function), images, [True] * 4, "x", judge=Brightness())
        assert all(one.reason.startswith("guide ") and one.scores["guide"] is None for one in found)
        assert [one.scores["brightness"] for one in found] == pytest.approx(brightness(images), abs=1e-6)


def test_a_guide_and_a_judge_of_one_name_are_told_apart(images):
    guide = Brightness("clip")
    for one in (guide, RankEnsemble([guide, Brightness("other")])):
        judge = Brightness("clip", factor=-1.0)
        assert judge_name(one, judge) == "clip#2"
        found = score_batch(one, images, [True] * 4, "x", judge=judge)
        assert [row.scores["clip"] for row in found] == pytest.approx(brightness(images), abs=1e-6)
        assert [row.scores["clip#2"] for row in found] == pytest.approx(-brightness(images), abs=1e-6)
    assert judge_name(guide, Brightness("judge")) == "judge"


def test_a_verifier_that_works_in_place_changes_no_other_score(images):
    def spoil(pixels):
        return pixels.mul_(0).mean((1, 2, 3))

    found = score_batch(Returns("guide", spoil), images, [True] * 4, "x", judge=Brightness())
    assert [one.scores["brightness"] for one in found] == pytest.approx(brightness(images), abs=1e-6)
