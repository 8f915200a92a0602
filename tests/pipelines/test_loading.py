import copy
import json
import shutil

import numpy as np
import pytest
import samplesmith
import torch
import toys
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from safetensors.torch import save_file
from samplesmith import assets
from samplesmith.foreign_errors import LoadError, in_one_sentence
from samplesmith.training.distillation.low_rank import low_rank_difference


def test_the_shipped_pipeline_is_a_plain_one(emoji_pipe):
    assert type(emoji_pipe) is StableDiffusion3Pipeline
    assert emoji_pipe.text_encoder_3 is None
    assert {
        p.dtype for part in emoji_pipe.components.values() if hasattr(part, "parameters") for p in part.parameters()
    } == {torch.float32}


def test_the_stock_class_loads_and_runs_the_shipped_folder():
    pipe = StableDiffusion3Pipeline.from_pretrained(
        assets.path("emoji-sd3"), text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        "a star on blue", generator=torch.Generator().manual_seed(0), **assets.call_defaults("emoji-sd3")
    ).images
    assert images[0].size == (128, 128)
    corner = np.asarray(images[0])[:8].reshape(-1, 3).mean(0)
    assert np.abs(corner - samplesmith.scenes.BACKGROUNDS["blue"]).max() < 30


def test_the_shipped_epsilon_model_stands_on_the_autoencoder_of_the_flow(emoji_pipe):
    pipe = samplesmith.load("emoji-sd")
    assert type(pipe) is StableDiffusionPipeline
    own, flow = pipe.vae.state_dict(), emoji_pipe.vae.state_dict()
    assert all(torch.equal(own[name], flow[name]) for name in flow)
    pipe.set_progress_bar_config(disable=True)
    call = assets.call_defaults("emoji-sd")
    image = pipe("a star on blue", generator=torch.Generator().manual_seed(0), **call).images[0]
    assert image.size == (128, 128)
    corner = np.asarray(image)[:8].reshape(-1, 3).mean(0)
    assert np.abs(corner - samplesmith.scenes.BACKGROUNDS["blue"]).max() < 30
    files = [
        file for part in ("unet", "text_encoder") for file in (assets.path("emoji-sd") / part).glob("*.safetensors")
    ]
    assert sum(file.stat().st_size for file in files) <= 16e6


def test_components_that_a_card_shares_come_from_the_other_folder(tmp_path, monkeypatch):
    for name, folder in (("whole", tmp_path / "whole"), ("part", tmp_path / "part")):
        toys.build("StableDiffusion").save_pretrained(folder)
        shared = {"vae": "whole", "tokenizer": "whole"} if name == "part" else {}
        (folder / "samplesmith.json").write_text(json.dumps({"kind": "pipeline", "summary": "", "shared": shared}))
    for part in ("vae", "tokenizer"):
        shutil.rmtree(tmp_path / "part" / part)
    monkeypatch.setattr(assets, "_ROOT", tmp_path)
    pipe, owner = samplesmith.load("part", dtype="float16"), samplesmith.load("whole", dtype="float16")
    assert pipe.vae.dtype == torch.float16
    assert all(torch.equal(*pair) for pair in zip(pipe.vae.parameters(), owner.vae.parameters(), strict=True))
    assert pipe.tokenizer.get_vocab() == owner.tokenizer.get_vocab()
    assert samplesmith.load("part", dtype="float16", vae=owner.vae).vae is owner.vae
    shutil.move(tmp_path / "part", tmp_path / "mine" / "part")  # as a recipe leaves it, before it is shipped
    assert samplesmith.load(tmp_path / "mine" / "part").tokenizer.get_vocab() == owner.tokenizer.get_vocab()


class TestLora:
    """A folder whose network is a shared one and a LoRA of it."""

    @pytest.fixture
    def student(self, tmp_path, monkeypatch):
        teacher = toys.build("StableDiffusion3")
        teacher.save_pretrained(tmp_path / "teacher")
        shutil.copytree(tmp_path / "teacher", tmp_path / "student")
        shutil.rmtree(tmp_path / "student/transformer")
        student = copy.deepcopy(teacher.transformer)
        generator = torch.Generator().manual_seed(0)
        layers = [layer for layer in student.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)]
        for layer in layers:
            layer.weight.data += 0.1 * torch.randn(layer.weight.shape, generator=generator)
        factors = low_rank_difference(student, teacher.transformer, 10_000)
        StableDiffusion3Pipeline.save_lora_weights(tmp_path / "student", transformer_lora_layers=factors)
        card = {"shared": {"transformer": "teacher"}, "lora": {"transformer": "pytorch_lora_weights.safetensors"}}
        for name, more in (("teacher", {}), ("student", card)):
            (tmp_path / name / "samplesmith.json").write_text(json.dumps({"kind": "pipeline", "summary": "", **more}))
        monkeypatch.setattr(assets, "_ROOT", tmp_path)
        return student

    def test_it_is_fused_and_gone(self, student):
        loaded = samplesmith.load("student").transformer
        assert type(loaded) is type(student)
        assert loaded.state_dict().keys() == student.state_dict().keys()
        for name, value in student.state_dict().items():
            assert torch.allclose(loaded.state_dict()[name], value, atol=1e-5), name

    def test_a_transformer_that_is_given_is_left_alone(self, student):
        assert samplesmith.load("student", transformer=student).transformer is student

    @pytest.mark.parametrize("name", ["unet.x.lora_A.weight", None])
    def test_a_file_of_another_network_or_none(self, student, tmp_path, name):
        file = tmp_path / "student/pytorch_lora_weights.safetensors"
        file.unlink()
        if name:
            save_file({name: torch.zeros(2, 2), name.replace("_A", "_B"): torch.zeros(2, 2)}, file)
        with pytest.raises(ValueError, match=r"holds no layer of the transformer|cannot be loaded") as raised:
            samplesmith.load("student")
        assert "\n" not in str(raised.value)


def test_the_call_defaults_hold_the_short_sequence():
    assert assets.call_defaults("emoji-sd3")["max_sequence_length"] <= 16


def test_a_folder_without_its_t5(tmp_path):
    toys.build("StableDiffusion3").save_pretrained(tmp_path / "sd3")
    pipe = samplesmith.load(tmp_path / "sd3")
    assert pipe.tokenizer_3 is None
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    latents = pipe(toys.PROMPT, output_type="latent", generator=generator, max_sequence_length=4, **toys.SMALL).images
    assert latents.isfinite().all()


def test_half_precision_on_disk_is_one_dtype_in_memory(tmp_path):
    toys.build("StableDiffusion3").to(torch.float16).save_pretrained(tmp_path / "sd3")
    pipe = samplesmith.load(tmp_path / "sd3")
    assert {pipe.text_encoder.dtype, pipe.transformer.dtype, pipe.vae.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emoji-sd4", "unknown model 'emoji-sd4': neither shipped"),
        ("somewhere/none.safetensors", "no file somewhere/none.safetensors"),
        ("nobody/nothing", "is no folder here and could not be fetched"),
    ],
)
def test_unknown_models_are_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        samplesmith.load(name)


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(ValueError, match=r"has no model_index\.json"):
        samplesmith.load(tmp_path)
    shutil.copytree(assets.path("emoji-sd3") / "scheduler", tmp_path / "scheduler")
    with pytest.raises(ValueError, match=r"has no model_index\.json"):
        samplesmith.load(tmp_path / "scheduler")


def test_unknown_dtype():
    with pytest.raises(ValueError, match="unknown dtype 'int8'; known: float32"):
        samplesmith.load("emoji-sd3", dtype="int8")


class TestDamagedFolders:
    """Whatever a library raises, or only logs, is one sentence that names the file or folder."""

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("models") / "sd3"
        toys.build("StableDiffusion3").save_pretrained(folder)
        return folder

    @pytest.fixture
    def folder(self, whole, tmp_path):
        return shutil.copytree(whole, tmp_path / "sd3")

    def refused(self, folder, message):
        with pytest.raises(ValueError, match=message) as raised:
            samplesmith.load(folder)
        assert "\n" not in str(raised.value)
        assert str(folder) in str(raised.value)

    @pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
    def test_weights_of_another_model(self, folder, part):
        (file,) = (folder / part).glob("*.safetensors")
        other = "transformer" if part == "vae" else "vae"
        shutil.copy(next((folder / other).glob("*.safetensors")), file)
        self.refused(folder, f"the weights in .*{part} are not those of its|cannot be loaded")

    @pytest.mark.parametrize("part", ["transformer", "text_encoder"])
    def test_a_layer_more_than_the_weights_have(self, folder, part):
        file = folder / part / "config.json"
        config = json.loads(file.read_text())
        key = "num_layers" if part == "transformer" else "num_hidden_layers"
        file.write_text(json.dumps({**config, key: config[key] + 1}))
        self.refused(folder, f"the weights in .*{part} are not those|cannot be loaded")

    @pytest.mark.parametrize(
        ("file", "data", "message"),
        [
            (
                "vae/diffusion_pytorch_model.safetensors",
                b"version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
            ("vae/diffusion_pytorch_model.safetensors", b"nonsense", "cannot be loaded: Unable to load weights"),
            ("text_encoder/model.safetensors", b"", "cannot be loaded"),
            ("transformer/config.json", b"{", "cannot be loaded"),
            ("scheduler/scheduler_config.json", b"[1]", "cannot be loaded"),
            ("model_index.json", b"{", "is no index of a diffusers pipeline"),
            ("model_index.json", b"[]", "is no index of a diffusers pipeline"),
            ("model_index.json", b'{"_class_name": "NoPipeline"}', "cannot be loaded: .*NoPipeline"),
            ("model_index.json", b"\xff\xfe", "is no index of a diffusers pipeline"),
        ],
    )
    def test_spoiled_files(self, folder, file, data, message):
        (folder / file).write_bytes(data)
        self.refused(folder, message)

    @pytest.mark.parametrize("part", ["tokenizer", "vae", "scheduler"])
    def test_a_part_is_missing(self, folder, part):
        shutil.rmtree(folder / part)
        self.refused(folder, f"lacks the folder {part}")

    def test_a_single_file(self, tmp_path):
        (tmp_path / "x.safetensors").write_bytes(b"nonsense" * 10)
        self.refused(tmp_path / "x.safetensors", "cannot be loaded: Unable to load weights")

    def test_our_own_mistakes_are_not_hidden_as_files(self, folder):
        """A bug in a block is told with its own class in the chain; interrupts pass."""
        with (
            pytest.raises(LoadError, match=r"x cannot be read: KeyError 'a'") as raised,
            in_one_sentence("x cannot be read"),
        ):
            {}["a"]
        assert isinstance(raised.value.__cause__, KeyError)
        with pytest.raises(KeyboardInterrupt), in_one_sentence("x cannot be read"):
            raise KeyboardInterrupt
