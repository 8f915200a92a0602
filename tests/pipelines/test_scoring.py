import numpy as np
import pytest
import torch
from fakes import Brightness
from samplesmith.pipelines.scoring import score_batch
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
        scores, reasons = score_batch([Brightness(fail_above=limit)], images, [False, True, True, True], "x")
    for k in range(4):
        if k == 0:
            assert reasons[k] == "the image has NaN or was blacked"
        elif levels[k] > limit:
            assert reasons[k] == "brightness raised RuntimeError: too bright for me"
        else:
            assert reasons[k] is None
            assert scores[k]["brightness"] == pytest.approx(levels[k], abs=1e-6)
        assert (scores[k]["brightness"] == -np.inf) == (reasons[k] is not None)
    assert sum(reason is not None and "too bright" in reason for reason in reasons) == int(levels.argmax() != 0)


def test_previews_reach_the_verifiers_that_need_them(images):
    previews = np.random.default_rng(1).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    guide = RankEnsemble([Brightness(), settled()])
    scores, reasons = score_batch([guide, Brightness("judge")], images, [True] * 4, "x", previews)
    a, b = images.mean((1, 2)), previews.mean((1, 2))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert reasons == [None] * 4
    assert [row["settled"] for row in scores] == pytest.approx(expected, abs=1e-5)
    assert all(set(row) == {"brightness", "settled", "judge"} for row in scores)


def test_previews_stay_with_their_images_when_one_fails(images):
    def features(pictures):
        if (pictures.mean((1, 2, 3)) > 0.9).any():
            raise RuntimeError("too bright")
        return pictures.mean((2, 3))

    images[2] = 255
    previews = np.random.default_rng(1).integers(0, 200, images.shape, dtype=np.uint8)
    guide = SelfSupervisedVerifier(features, "settled")
    with pytest.warns(UserWarning, match="too bright"):
        scores, reasons = score_batch([guide], images, [True] * 4, "x", previews)
    assert [reason is None for reason in reasons] == [True, True, False, True]
    kept = [0, 1, 3]
    again, _ = score_batch([guide], images[kept], [True] * 3, "x", previews[kept])
    assert [scores[k]["settled"] for k in kept] == pytest.approx([row["settled"] for row in again], abs=1e-6)


def test_missing_previews_are_one_sentence_and_lose_no_candidate(images):
    with pytest.raises(ValueError, match="settled compares images with earlier previews of them"):
        score_batch([Brightness(), settled()], images, [True] * 4, "x")


def test_a_verifier_that_evaluates_in_its_own_way_needs_to_know_nothing_of_previews(images):
    class Own(Brightness):
        def evaluate(self, images, prompts):
            return {"own": self(images, prompts)}

    scores, _ = score_batch([Own()], images, [True] * 4, "x", images)
    assert [row["own"] for row in scores] == pytest.approx(brightness(images), abs=1e-6)


def test_a_verifier_that_can_score_nothing_stops_the_search(images):
    class Down(Verifier):
        calls = 0

        def score(self, images, prompts, previews=None):
            self.calls += 1
            raise VerifierUnavailable("http://judge refuses the API key (HTTP 401)")

    down = Down()
    with pytest.raises(VerifierUnavailable, match="refuses the API key"):
        score_batch([down], images, [True] * 4, "x")
    assert down.calls == 1
    assert torch.is_grad_enabled()
