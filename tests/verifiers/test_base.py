import pytest
import torch
from fakes import Brightness
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samplesmith.verifiers import RankEnsemble, SelfSupervisedVerifier, WeightedSum


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
        ([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], "differ in size"),
        (["cat.png"], "list of PIL images"),
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
