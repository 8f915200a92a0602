import pytest
import torch
import toys
from samplesmith.pipelines.superposition.unconditional import needs_text, unconditional_rows


@pytest.mark.parametrize("name", ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "PixArt"])
@pytest.mark.parametrize("negative", [None, "a dog"])
def test_empty_rows_are_what_guidance_starts_from(name, negative):
    pipe = toys.build(name)
    extra = {"prompt_2": None, "prompt_3": None} if name == "StableDiffusion3" else {}
    asked = {"num_images_per_prompt": 1, "device": "cpu", **extra}
    given = {} if negative is None else {"negative_prompt": negative}
    guided = pipe.encode_prompt(prompt="a cat", do_classifier_free_guidance=True, **asked, **given)
    with unconditional_rows(pipe, given):
        rows = pipe.encode_prompt(prompt=["", "a cat"], do_classifier_free_guidance=False, **asked)
    found = [one for one in rows if isinstance(one, torch.Tensor)]
    unguided = [one is None for one in rows]
    assert sum(unguided) == len(found)
    positive = [one for one, empty in zip(guided, unguided, strict=True) if not empty]
    negatives = [one for one, empty in zip(guided, unguided, strict=True) if empty]
    for value, own, other in zip(found, positive, negatives, strict=True):
        assert torch.allclose(value[1:].float(), own.float(), atol=1e-5)
        assert torch.allclose(value[:1].float(), other.float(), atol=1e-5)


def test_pipelines_that_encode_each_prompt_alone_are_told_by_text():
    assert needs_text(toys.build("Flux"))
    assert not needs_text(toys.build("StableDiffusion"))
