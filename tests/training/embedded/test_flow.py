import pytest
import torch
from drawn_pictures import drawn_by
from samplesmith import assets, load
from samplesmith.training.checkpoints import WrongRunError
from samplesmith.training.embedded import denoisers, flow, generator
from samplesmith.training.embedded.text import build_tokenizer, token_ids
from stopped_runs import StopError, assert_same_weights, stop_at


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_weights_and_another_goes_on_from_them(tmp_path, autoencoder, monkeypatch):
    monkeypatch.setattr(denoisers, "BATCH", 4)
    monkeypatch.setattr(generator, "EVALUATE_EVERY", 1)
    settings = {"total_images": 8, "scene_count": 300, "seed": 0, "compiled": False}
    whole = flow.train(tmp_path / "new", autoencoder, **settings)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(StopError):
            flow.train(tmp_path / "cut", autoencoder, **settings)
    cut = flow.train(tmp_path / "cut", autoencoder, **settings)
    for name in ("transformer", "text_encoder"):
        assert_same_weights(getattr(whole, name), getattr(cut, name))
    assert drawn_by(tmp_path / "new/pipeline", max_sequence_length=1).size == (128, 128)
    assert '"dtype": "float32"' in (tmp_path / "new/pipeline/text_encoder/config.json").read_text()

    flow.train(tmp_path / "on", autoencoder, **settings, start=tmp_path / "new/pipeline")
    assert drawn_by(tmp_path / "on/pipeline", max_sequence_length=1).size == (128, 128)
    with pytest.raises(WrongRunError, match=r"start was '[0-9a-f]+', now 'new weights'"):
        flow.train(tmp_path / "on", autoencoder, **settings)
    with pytest.raises(ValueError, match=r"latents.pt holds 300 scenes and this run asks for 500"):
        flow.train(tmp_path / "on", autoencoder, **{**settings, "scene_count": 500})


def test_first_weights_are_those_of_the_seed(tmp_path):
    """All of them: the head that is dropped afterwards too, also where the rest is read from a folder."""
    nets = [flow.first_weights(tmp_path, 3, assets.path("emoji-sd3"))[0] for _ in range(2)]
    assert_same_weights(*nets)


@pytest.mark.parametrize("caption", ["five fish on pink", "5 fish", "with a cat"])
def test_a_run_goes_on_from_what_the_stock_pipeline_computes(tmp_path, caption):
    net, tokenizer = flow.first_weights(tmp_path, 0, assets.path("emoji-sd3"))
    pipe = load("emoji-sd3")
    x, sigma = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)), torch.full((1, 1, 1, 1), 0.5)
    with torch.no_grad():
        embedded = pipe.encode_prompt(caption, None, None, max_sequence_length=1)
        stock = pipe.transformer(x, embedded[0], embedded[2], torch.tensor([500.0]), return_dict=False)[0]
        ours = net.eval().velocity(x, sigma, token_ids(tokenizer, [caption]))
    assert torch.allclose(ours, stock, atol=1e-5)


@pytest.mark.usefixtures("_forked")
def test_n_zero_tokens_act_as_one_with_a_bias_of_log_n(tmp_path):
    """So the number may change between training and use: the velocity moves smoothly with it."""
    torch.manual_seed(0)
    net = flow.Flow(flow.build_transformer(width=64, layers=3), flow.build_text_encoder(build_tokenizer(tmp_path)))
    for parameter in net.denoiser.parameters():  # zero gates and outputs would hide the tokens
        parameter.data += 0.05 * torch.randn(parameter.shape)
    ids = token_ids(build_tokenizer(tmp_path), ["a cat on pink"])
    x, sigma = torch.randn(1, 8, 16, 16), torch.full((1, 1, 1, 1), 0.5)
    with torch.no_grad():
        one, two, many = (net.velocity(x, sigma, ids, n) for n in (1, 2, 256))
    assert 0 < (one - two).norm() < (one - many).norm() < one.norm()


@pytest.mark.usefixtures("_forked")
def test_interpolant_is_linear():
    x0, noise = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0)).unbind()
    x, velocity = flow.interpolate(x0, noise, torch.tensor(0.25))
    assert torch.allclose(x - 0.25 * velocity, x0, atol=1e-6)
    assert torch.allclose(x + 0.75 * velocity, noise, atol=1e-6)
