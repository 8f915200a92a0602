import torch
from samplesmith.scenes import parse
from samplesmith.training.embedded.attributes import IGNORED, AttributeHeads, counts_target


def test_nothing_is_read_of_what_a_caption_leaves_free():
    assert counts_target([{"cat": 2}], [True])[0].tolist()[:3] == [2, IGNORED, IGNORED]
    assert counts_target([{"cat": 2}])[0].tolist()[:3] == [2, 0, 0]
    with torch.random.fork_rng():
        heads = AttributeHeads(8)
    embedding = torch.zeros(1, 8)
    open_, named = parse("with a cat"), parse("with a cat on blue")
    losses = [heads.loss(embedding, [scene.counts], [scene], 1, [True]) for scene in (open_, named)]
    assert losses[0] < losses[1]
    assert torch.isfinite(heads.loss(embedding, [{}], [parse("on blue")], 1, [True]))
