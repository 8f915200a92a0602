import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_rng_is_left_alone():
    """Nothing of ours may read or change the global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global generator of torch was used"


@pytest.fixture(scope="session")
def emoji_pipe():
    import samplesmith

    pipe = samplesmith.load("emoji-sd3")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def emoji_clip():
    from samplesmith.verifiers import load_verifier

    return load_verifier("emoji-clip")


@pytest.fixture(scope="session")
def judge():
    from samplesmith.verifiers import load_verifier

    return load_verifier("emoji-detector")
