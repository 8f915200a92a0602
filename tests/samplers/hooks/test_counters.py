"""What counts as an evaluation, told by what a network returns."""

import pytest
import torch
import toys
from samplesmith.samplers.hooks import count_evaluations, timed_networks
from samplesmith.samplers.hooks.counters import predicted_rows
from torch import nn


def counted(owner, run):
    rows = []
    with count_evaluations(owner, rows.append):
        run()
    return rows


def call(pipe, name, **changes):
    _, prompt, arguments = toys.TOYS[name]
    return lambda: pipe(
        prompt, output_type="latent", generator=torch.Generator().manual_seed(0), **arguments, **changes
    )


def test_a_controlnet_is_part_of_the_evaluation_that_takes_its_residuals():
    pipe = toys.build("ControlNet")
    assert timed_networks(pipe) == [pipe.unet, pipe.controlnet]
    assert counted(pipe, call(pipe, "ControlNet", num_images_per_prompt=3)) == [6, 6]


def test_several_controlnets_are_one_network():
    from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

    nets = MultiControlNetModel([toys.build("ControlNet").controlnet for _ in range(2)])
    assert timed_networks(nets) == [nets]


def test_denoisers_of_nested_pipelines_and_lists_are_found_once():
    inner, outer = toys.build("StableDiffusion3"), toys.build("StableDiffusion")
    outer.decoders = [inner, inner.transformer]
    assert timed_networks(outer) == [outer.unet, inner.transformer]


def test_a_decoder_that_diffuses_is_found_within_its_autoencoder():
    from diffusers import ConsistencyDecoderVAE

    with torch.random.fork_rng():
        vae = ConsistencyDecoderVAE(
            encoder_block_out_channels=(8, 8),
            encoder_down_block_types=("DownEncoderBlock2D",) * 2,
            encoder_norm_num_groups=4,
            decoder_block_out_channels=(32, 32),
            decoder_down_block_types=("ResnetDownsampleBlock2D",) * 2,
            decoder_up_block_types=("ResnetUpsampleBlock2D",) * 2,
            decoder_norm_num_groups=4,
            decoder_num_train_timesteps=16,
            latent_channels=4,
        )
    pipe = toys.build("StableDiffusion")
    pipe.vae = vae.eval()
    assert timed_networks(pipe) == [vae.decoder_unet, pipe.unet] or timed_networks(pipe) == [
        pipe.unet,
        vae.decoder_unet,
    ]


def test_a_network_of_ones_own_counts_whatever_it_is_called():
    class Mine(nn.Module):
        def forward(self, x, sigma):
            return x

    class Embeds(nn.Module):
        """The embedding of a time: it takes no sample."""

        def forward(self, timestep, sample=None):
            return timestep

    pipe = toys.build("StableDiffusion3")
    pipe.my_own, pipe.embeds = Mine(), Embeds()
    assert timed_networks(pipe) == [pipe.transformer, pipe.my_own]
    assert counted(pipe, lambda: pipe.my_own(torch.zeros(5, 2), 1.0)) == [5]


def test_a_forward_that_fails_evaluated_nothing():
    class Fails(nn.Module):
        def forward(self, x, timestep):
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        counted(Fails(), lambda: Fails()(torch.zeros(2, 2), 1))


SAMPLE = torch.zeros(3, 4, 8, 8)


@pytest.mark.parametrize(
    ("output", "inputs", "rows"),
    [
        (SAMPLE, [SAMPLE, 1], 3),
        ((SAMPLE,), [SAMPLE, 1], 3),
        (([SAMPLE[0]] * 3,), [[SAMPLE[0]] * 3, 1], 3),
        (([SAMPLE] * 3, SAMPLE), [SAMPLE, 1], 0),
        (([SAMPLE] * 3,), [SAMPLE, 1], 0),
        ((None, [SAMPLE]), [SAMPLE, 1], 0),
        ({0: SAMPLE, 1: SAMPLE}, [[SAMPLE[0]] * 3, 1], 0),
        (None, [], 0),
        ((), [], 0),
    ],
)
def test_rows_of_outputs(output, inputs, rows):
    """Tensors, tuples, lists of a tensor per row; a ControlNet's lists and dicts of residuals."""
    assert predicted_rows(output, inputs) == rows


def test_an_output_class_is_read_like_a_tuple():
    pipe = toys.build("StableDiffusion")
    text = torch.zeros(2, 3, 32)
    assert counted(pipe, lambda: pipe.unet(torch.zeros(2, 4, 16, 16), 5, text)) == [2]
    assert counted(pipe, lambda: pipe.unet(torch.zeros(2, 4, 16, 16), 5, text, return_dict=False)) == [2]
