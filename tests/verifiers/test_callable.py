import numpy as np
import pytest
import torch
from samplesmith.verifiers import CallableVerifier


@pytest.fixture
def images():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def redness(images, prompts):
    return images[:, 0].mean((1, 2))


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.tolist(), lambda x: x.numpy(), lambda x: x.double()])
def test_lists_arrays_and_tensors_are_scores(images, form):
    verifier = CallableVerifier(lambda pictures, prompts: form(redness(pictures, prompts)), "red")
    assert verifier.name == "red"
    assert verifier(images, "x").dtype == torch.float32
    assert torch.allclose(verifier(images, "x"), redness(images, []))


def test_the_function_sees_images_and_a_prompt_for_each_in_batches(images):
    seen = []
    verifier = CallableVerifier(lambda pictures, prompts: seen.append((len(pictures), prompts)) or [0] * len(prompts))
    verifier.batch_size = 2
    verifier(images, ["a", "b", "c"])
    assert seen == [(2, ["a", "b"]), (1, ["c"])]


def test_it_bears_the_functions_name_and_joins_a_sum(images):
    verifier = CallableVerifier(redness)
    assert verifier.name == "redness"
    assert torch.allclose((verifier + 2 * CallableVerifier(redness, "b"))(images, "x"), 3 * redness(images, []))


def test_gradients_flow_only_where_it_is_said(images):
    x = images.requires_grad_()
    assert not CallableVerifier(redness)(x, "x").requires_grad
    CallableVerifier(redness, differentiable=True)(x, "x").sum().backward()
    assert x.grad[:, 0].min() > 0


def test_nan_and_minus_infinity_pass(images):
    scores = CallableVerifier(lambda *_: [np.nan, -np.inf, 1.0])(images, "x")
    assert scores[0].isnan()
    assert scores[1:].tolist() == [-np.inf, 1.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0, 2.0], r"f returned shape \(2,\) for 3 images; return one number per image"),
        (torch.zeros(3, 1), r"f returned shape \(3, 1\) for 3 images"),
        (0.5, r"f returned shape \(\) for 3 images"),
        (None, "f returned NoneType, which is no list of numbers"),
        (["good", "bad", "good"], "f returned list, which is no list of numbers"),
        ([1.0, np.inf, 2.0], r"f returned \+inf, which would always win"),
    ],
)
def test_other_returns_are_one_sentence(images, returned, message):
    with pytest.raises(ValueError, match=message):
        CallableVerifier(lambda *_: returned, "f")(images, "x")


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ValueError, match="'redness' is no function"):
        CallableVerifier("redness")
