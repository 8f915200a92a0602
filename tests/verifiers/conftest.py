import pytest
import torch
from toy_clip import save_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A small CLIP model of transformers."""
    folder = tmp_path_factory.mktemp("clip") / "pick"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_clip(folder)
    return folder
