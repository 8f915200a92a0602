"""The weak model's form, and what it costs beside the denoiser that it stands for."""

import pytest
import torch
from samplesmith import assets
from samplesmith.models.weak_model import WeakModel
from torch.utils.flop_counter import FlopCounterMode


def made(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WeakModel(**{"prediction_channels": 8, "condition_width": 256, **changes}).eval()


def stirred(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def call(rows=3, channels=8, side=16):
    c, x, p = (
        torch.randn(rows, *shape, generator=torch.Generator().manual_seed(k))
        for k, shape in enumerate([(channels, side, side), (8, side, side), (256,)])
    )
    return {"prediction": c, "sample": x, "timestep": torch.tensor([900.0, 500.0, 1.0])[:rows], "condition": p}


@torch.no_grad()
def test_it_begins_as_the_conditional_prediction_and_is_it_at_scale_one():
    inputs = call()
    assert torch.equal(made()(**inputs, guidance_scale=5.0), inputs["prediction"])
    trained = stirred(made())
    assert torch.equal(trained(**inputs, guidance_scale=1.0), inputs["prediction"])
    assert not torch.allclose(trained(**inputs, guidance_scale=5.0), inputs["prediction"])


@torch.no_grad()
def test_rows_do_not_depend_on_their_mates_and_every_input_tells():
    model, inputs = stirred(made()), call()
    scales = torch.tensor([2.0, 3.0, 4.0])
    whole = model(**inputs, guidance_scale=scales)
    for row in range(3):
        alone = model(
            **{name: value[row : row + 1] for name, value in inputs.items()}, guidance_scale=float(scales[row])
        )
        assert torch.allclose(alone[0], whole[row], atol=1e-4)
    for name, value in inputs.items():
        changed = model(**{**inputs, name: value + 1}, guidance_scale=scales)
        difference = (changed - inputs["prediction"]) - (whole - inputs["prediction"])
        assert difference.abs().max() > 1e-3, name


@torch.no_grad()
def test_it_costs_at_most_a_twentieth_of_the_emoji_denoiser():
    """By torch's counter, on emoji-sd3's shapes at its shortest text."""
    from diffusers import SD3Transformer2DModel

    folder = assets.path("emoji-sd3") / "transformer"
    with torch.random.fork_rng():
        transformer = SD3Transformer2DModel.from_config(SD3Transformer2DModel.load_config(folder)).eval()
        model = made()
    inputs = call(rows=1)

    def flops(run):
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    denoiser = flops(
        lambda: transformer(
            inputs["sample"],
            encoder_hidden_states=torch.zeros(1, 15, 256),
            pooled_projections=inputs["condition"],
            timestep=inputs["timestep"],
        )
    )
    weak = flops(lambda: model(**inputs, guidance_scale=3.0))
    assert 0 < weak <= 0.05 * denoiser


def test_saved_and_loaded_in_other_forms(tmp_path):
    model = stirred(made(prediction_channels=4, sample_channels=8, condition_width=None, guidance_range=(1.0, 6.0)))
    model.save_pretrained(tmp_path)
    loaded = WeakModel.from_pretrained(tmp_path)
    inputs = {**call(channels=4, side=10), "condition": None}
    with torch.no_grad():
        assert torch.equal(loaded(**inputs, guidance_scale=2.0), model(**inputs, guidance_scale=2.0))
        half = loaded.to(torch.bfloat16)(**inputs, guidance_scale=2.0)
    assert half.dtype == torch.float32
    assert list(loaded.config.guidance_range) == [1.0, 6.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": torch.zeros(3, 8, 15, 16)}, "with height and width multiples of 2"),
        ({"condition": None}, "takes a pooled prompt, and this denoiser has none"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        made()(**{**call(), **changes}, guidance_scale=2.0)
    with pytest.raises(ValueError, match="give a width that 4 and the heads divide"):
        made(width=30)
