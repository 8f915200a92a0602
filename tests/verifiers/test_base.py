import numpy as np
import pytest
import torch
from fakes import Brightness, small_classifier
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samplesmith.verifiers import (
    CallableVerifier,
    ClassVerifier,
    PreferenceVerifier,
    RankEnsemble,
    SelfSupervisedVerifier,
    Verifier,
    WeightedSum,
    load_verifier,
)


def images(n=5, seed=0):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_tensor_and_pil_agree():
    pixels = (images() * 255).round().to(torch.uint8)
    pictures = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pixels]
    verifier = Brightness()
    assert torch.allclose(verifier(pixels.float() / 255, "x"), verifier(pictures, "x"))
    assert verifier(pictures, "x").dtype == torch.float32


@given(st.integers(1, 7))
def test_a_score_depends_on_its_own_image_alone(batch_size):
    verifier = Brightness()
    whole = verifier(images(), "x")
    verifier.batch_size = batch_size
    assert torch.equal(verifier(images(), "x"), whole)


def test_weighted_sum_and_its_parts():
    a, b = Brightness("a"), Brightness("b", factor=2.0, scale=2.0)
    total = a + 0.5 * b
    assert isinstance(total, WeightedSum)
    assert total.name == "a + 0.5 * b"
    scores = total.evaluate(images(), "x")
    assert set(scores) == {"a + 0.5 * b", "a", "b"}
    assert torch.allclose(scores[total.name], scores["a"] + 0.5 * scores["b"])
    assert torch.allclose(total(images(), "x"), scores[total.name])


def test_unlike_scales_warn():
    with pytest.warns(UserWarning, match="unlike scales"):
        Brightness("clip", scale=0.3) + Brightness("aesthetic", scale=6.0)


def test_rank_ensemble_selects_over_a_pool():
    ensemble = RankEnsemble([Brightness("a"), Brightness("b", factor=-1.0)], weights=[3, 1])
    scores = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([5.0, 5.0, 0.0])}
    assert torch.allclose(ensemble.select(scores), torch.tensor([3 * 1 + 2.5, 3 * 2 + 2.5, 3 * 3 + 1.0]) / 4)
    with pytest.raises(ValueError, match="ranks a prompt's whole pool"):
        ensemble(images(), "x")
    with pytest.raises(ValueError, match="rank its parts instead"):
        ensemble + Brightness()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 4, 8, 8), "expected a float tensor"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "expected a float tensor"),
        ([["cat.png"], "cat.png"], "images are a list of list and str; expected a float tensor"),
        (["cat.png"], "no picture cat.png"),
    ],
)
def test_bad_images_are_one_sentence(bad, message):
    with pytest.raises(ValueError, match=message):
        Brightness()(bad, "x")


def test_prompts_must_match_images():
    with pytest.raises(ValueError, match="5 images but 2 prompts"):
        Brightness()(images(), ["x", "y"])


def settled(name="settled"):
    return SelfSupervisedVerifier(lambda pictures: pictures.mean((2, 3)), name)


def test_previews_reach_the_parts_that_need_them():
    final, early = images(seed=0), images(seed=1)
    alone = settled()(final, "x", early)
    for composite in (Brightness() + settled(), RankEnsemble([Brightness(), settled()])):
        assert composite.needs_previews
        scores = composite.evaluate(final, "x", early)
        assert torch.equal(scores["settled"], alone)
        assert torch.equal(scores["brightness"], Brightness()(final, "x"))
        with pytest.raises(ValueError, match="give previews="):
            composite.evaluate(final, "x")
    assert not (Brightness() + Brightness("b")).needs_previews
    assert torch.allclose((Brightness() + settled())(final, "x", early), Brightness()(final, "x") + alone)


def test_previews_must_match_images():
    with pytest.raises(ValueError, match="5 images but 3 previews"):
        settled()(images(), "x", images(3))


def test_gradients_flow_where_the_verifier_says_so():
    x = images().requires_grad_()
    (Brightness() + Brightness("b"))(x, "x").sum().backward()
    assert x.grad.abs().sum() > 0


class Careless(Verifier):
    """Writes into its images, and returns what it is told."""

    name = "careless"

    def __init__(self, returned=None):
        self.returned = returned

    def score(self, images, prompts, previews=None):
        scores = images.mean((1, 2, 3))
        images.zero_()
        if previews is not None:
            previews.zero_()
        prompts[:] = ["another"] * len(prompts)
        return scores if self.returned is None else self.returned


@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: v + Brightness("b"), lambda v: RankEnsemble([v, Brightness("b")])]
)
def test_a_verifier_that_writes_into_its_images_changes_no_other_score(wrap):
    pixels, kept = images(), images()
    prompts = ["x"] * len(pixels)
    scores = wrap(Careless()).evaluate(pixels, prompts)
    assert torch.equal(pixels, kept)
    assert prompts == ["x"] * len(pixels)
    assert torch.equal(scores["careless"], kept.mean((1, 2, 3)))
    if "b" in scores:
        assert torch.equal(scores["b"], scores["careless"])


def test_previews_and_pictures_are_protected_too():
    class Comparing(Careless):
        needs_previews = True

    pixels, early = images(), images(seed=1)
    Comparing()(pixels, "x", early)
    assert torch.equal(early, images(seed=1))
    picture = Image.new("RGB", (8, 8), "red")
    assert Careless()([picture], "x") == pytest.approx(1 / 3)
    assert picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(10), r"careless returned shape \(10,\) for 5 images; return one number per image, shape \(5,\)"),
        (torch.zeros(5, 1), r"careless returned shape \(5, 1\)"),
        (0.5, r"careless returned shape \(\)"),
        ({"a": 1}, "careless returned dict, which is no list of numbers"),
        ([0, 1, 2, 3, float("inf")], r"careless returned \+inf, which would always win"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: Brightness() + v, lambda v: RankEnsemble([Brightness(), v])])
def test_the_scores_of_every_verifier_are_checked(wrap, returned, message):
    with pytest.raises(ValueError, match=message):
        wrap(Careless(returned)).evaluate(images(), "x")


def test_nan_and_minus_infinity_are_lost_images():
    scores = Careless([0, 1, float("nan"), float("-inf"), 2])(images(), "x")
    assert scores[2].isnan()
    assert scores[3] == -torch.inf


@pytest.fixture(scope="module")
def with_mates(tmp_path_factory):
    """Files of several sizes."""
    folder = tmp_path_factory.mktemp("mates")
    rng = np.random.default_rng(0)
    files = []
    for k, (width, height) in enumerate([(128, 128), (320, 128), (28, 28), (97, 203), (320, 128), (64, 64)]):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        files.append(folder / f"{k}.png")
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(files[-1])
    return files


def verifiers():
    classifier = ClassVerifier(small_classifier())
    clip = load_verifier("emoji-clip")
    return {
        "clip": clip,
        "preference": PreferenceVerifier(clip),
        "aesthetic": load_verifier("emoji-aesthetic"),
        "classifier": classifier,
        "detector": load_verifier("emoji-detector"),
        "callable": CallableVerifier(lambda pictures, prompts: pictures.std((1, 2, 3))),
        "sum": clip + 2 * CallableVerifier(lambda pictures, prompts: pictures.std((1, 2, 3)), scale=0.2),
    }


@pytest.mark.parametrize("kind", ["clip", "preference", "aesthetic", "classifier", "detector", "callable", "sum"])
def test_no_batch_mate_changes_a_score(with_mates, kind):
    verifier = verifiers()[kind]
    prompt = "Bag" if kind == "classifier" else "a cat on pink"
    together = verifier(with_mates, prompt)
    alone = torch.cat([verifier([file], prompt) for file in with_mates])
    assert together == pytest.approx(alone, abs=1e-4 if kind == "preference" else 1e-5)
    assert verifier(with_mates[::-1], prompt) == pytest.approx(alone.flip(0), abs=1e-4)
    opened = [Image.open(file) for file in with_mates]
    assert torch.equal(verifier(opened, prompt), together)


def test_pictures_of_several_sizes_are_compared_with_their_own_previews(with_mates):
    scores = settled()(with_mates, "x", with_mates[::-1])
    alone = [settled()([a], "x", [b]) for a, b in zip(with_mates, with_mates[::-1], strict=True)]
    assert torch.allclose(scores, torch.cat(alone))


def clips(frames=11):
    """Two clips whose frames grow brighter; the second from the middle on."""
    first = torch.linspace(0, 1, frames)
    second = (first - 0.5).clamp(min=0)
    return torch.stack([first, second])[..., None, None, None].expand(-1, -1, 3, 8, 8).contiguous()


def test_a_verifier_of_images_scores_the_mean_of_a_clips_frames():
    verifier = Brightness()
    verifier.num_frames = None
    assert torch.allclose(verifier(clips(), "x"), clips().mean((1, 2, 3, 4)))
    assert verifier.images_scored == 22
    verifier.num_frames = 3  # the first, the middle and the last
    assert torch.allclose(verifier(clips(), "x"), torch.tensor([0.5, 0.5 / 3]))
    verifier.num_frames = 1
    assert torch.allclose(verifier(clips(), "x"), torch.tensor([0.5, 0.0]))
    assert Brightness().num_frames == 8
    assert Brightness()(clips(4), "x").shape == (2,)


def test_clips_of_pictures_may_differ_in_size_and_length(tmp_path):
    levels = [[10, 20], [30, 50, 70]]
    given = [[Image.new("L", (8 + k, 8), level) for level in row] for k, row in enumerate(levels)]
    assert Brightness()(given, "x").tolist() == pytest.approx([15 / 255, 50 / 255])


def test_composites_take_clips():
    a, b = Brightness("a"), Brightness("b", factor=-1.0)
    a.num_frames = b.num_frames = 3
    scores = (a + 0.5 * b).evaluate(clips(), "x")
    assert torch.allclose(scores["a"], torch.tensor([0.5, 0.5 / 3]))
    assert torch.allclose(scores["a + 0.5 * b"], 0.5 * scores["a"])
    ensemble = RankEnsemble([a, b], weights=[2, 1])
    assert ensemble.select(ensemble.evaluate(clips(), "x")).argmax() == 0


def test_previews_of_clips_are_sampled_at_the_same_moments():
    verifier = CallableVerifier(lambda pictures, prompts: pictures.mean((1, 2, 3)))
    verifier.score = lambda pictures, prompts, previews: (pictures - previews).mean((1, 2, 3))
    verifier.needs_previews, verifier.num_frames = True, 3
    assert torch.allclose(verifier(clips(), "x", clips()), torch.zeros(2))
    assert torch.allclose(verifier(clips(11), "x", clips(5)), torch.zeros(2), atol=1e-6)
    with pytest.raises(ValueError, match="must both be clips, or neither"):
        verifier(clips(), "x", clips()[:, 0])


def test_a_verifier_of_clips_sees_whole_clips_and_nothing_else():
    seen = []
    motion = CallableVerifier(
        lambda c, prompts: seen.append(c.shape) or (c[:, 1:] - c[:, :-1]).abs().mean((1, 2, 3, 4)), takes_clips=True
    )
    assert torch.allclose(motion(clips(), "x"), torch.tensor([0.1, 0.05]))
    assert seen == [(2, 11, 3, 8, 8)]
    pictures = [[Image.new("L", (8, 8), level) for level in (0, 51, 102)]] * 2
    assert torch.allclose(motion(pictures, "x"), torch.tensor([0.2, 0.2]))
    with pytest.raises(ValueError, match="scores clips; give"):
        motion(images(), "x")
    with pytest.raises(ValueError, match="frames of a clip differ in size"):
        motion([[Image.new("L", (8, 8)), Image.new("L", (9, 8))]], "x")


def test_gradients_reach_the_frames():
    x = clips().requires_grad_()
    verifier = Brightness()
    verifier.num_frames = 3
    verifier(x, "x").sum().backward()
    assert (x.grad.flatten(2).abs().sum(2) > 0).sum(1).tolist() == [3, 3]
