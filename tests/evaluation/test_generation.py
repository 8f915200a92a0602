"""Images made to be measured: each depends on its number alone."""

import numpy as np
import pytest
from samplesmith.evaluation.generation import generate
from toys import PROMPT, SMALL, build

STEPS = {"num_inference_steps": 2}


def images_by_number(*arguments, **options):
    return {
        number: image
        for numbers, images in generate(*arguments, **options)
        for number, image in zip(numbers, images, strict=True)
    }


def test_an_image_depends_on_its_number_alone():
    pipe = build("DiT")
    whole = images_by_number(pipe, [0, 1], range(7), batch_size=3, arguments=STEPS)
    assert sorted(whole) == list(range(7))
    shares = [images_by_number(pipe, [0, 1], range(rank, 7, 3), arguments=STEPS) for rank in range(3)]
    for number, image in whole.items():
        shared = shares[number % 3][number]
        assert np.abs(image.astype(int) - shared.astype(int)).max() <= 1
    later = images_by_number(pipe, [1, 0], range(2), seed=5, arguments=STEPS)
    assert np.abs(later[0].astype(int) - whole[5].astype(int)).max() <= 1
    assert np.abs(whole[0].astype(int) - whole[2].astype(int)).max() > 1


def test_batches_are_filled_over_the_conditions_and_no_larger_than_asked():
    pipe = build("DiT")
    calls = []
    original = type(pipe).__call__

    class Watched(type(pipe)):
        def __call__(self, class_labels, guidance_scale=1.0, generator=None, num_inference_steps=2, output_type="np"):
            calls.append(class_labels)
            return original(
                self,
                class_labels,
                guidance_scale=guidance_scale,
                generator=generator,
                num_inference_steps=num_inference_steps,
                output_type=output_type,
            )

    pipe.__class__ = Watched
    assert len(images_by_number(pipe, [0, 1], range(7), batch_size=3)) == 7
    # Trials of how it takes rows, of two at most, come between them.
    assert [labels for labels in calls if len(labels) == 3] == [[0, 0, 0], [0, 1, 1]]
    assert calls[-1] == [1]


def test_images_that_cannot_be_measured_are_refused():
    pipe = build("StableDiffusion")
    pipe.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"with the seed 3, .* with the seed 4 hold NaN"):
        list(generate(pipe, [PROMPT], range(2), seed=3, arguments=SMALL))
