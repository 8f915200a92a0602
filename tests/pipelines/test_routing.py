import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.pipelines.partition import partition_classes, partition_texts
from samplesmith.pipelines.routing import ClassRouter, TextRouter, balanced_kmeans, router_from_json, unit


def clouds(sizes, width=8, spread=0.05):
    """Points round as many orthogonal directions, cloud by cloud."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(width)[: len(sizes)]
    pairs = zip(centres, sizes, strict=True)
    points = [centre + spread * torch.randn(size, width, generator=generator) for centre, size in pairs]
    return torch.cat(points)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 40), clusters=st.integers(1, 6), seed=st.integers(0, 9))
def test_clusters_are_of_equal_size_and_the_same_again(count, clusters, seed):
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    if clusters > count:
        with pytest.raises(ValueError, match="cannot be dealt out"):
            balanced_kmeans(points, clusters, torch.Generator())
        return
    found = [balanced_kmeans(points, clusters, torch.Generator().manual_seed(1)) for _ in range(2)]
    labels, centroids = found[0]
    sizes = torch.bincount(torch.tensor(labels), minlength=clusters)
    assert sizes.max() - sizes.min() <= 1
    assert len(centroids) == clusters
    assert found[0][0] == found[1][0]


def test_clouds_are_found():
    labels, centroids = balanced_kmeans(clouds([10, 10, 10]), 3, torch.Generator().manual_seed(0))
    assert labels == [0] * 10 + [1] * 10 + [2] * 10  # numbered by their first points
    assert torch.allclose(centroids[:, :3], torch.eye(3), atol=0.1)


def test_many_points_are_dealt_out_evenly_too(monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.routing.FITTED", 30)
    labels, _ = balanced_kmeans(clouds([50, 50, 50]), 3, torch.Generator().manual_seed(0))
    assert sorted(labels.count(k) for k in range(3)) == [50, 50, 50]
    assert len(set(labels[:50])) == len(set(labels[50:100])) == 1


def test_a_report_says_what_balance_costs():
    """Clouds of 15 and 5: the second student trains on five of the first's, which the router sends to the first."""
    prompts = [f"p{i}" for i in range(20)]
    part = partition_texts(clouds([15, 5]), 2, prompts, torch.Generator().manual_seed(0))
    assert [len(part.rows(k)) for k in range(2)] == [10, 10]
    assert part.routed == 0.75
    assert 0.1 < part.tightness < 0.4
    assert "student 0: 10 conditions: p" in part.report()
    assert part.report().endswith("75% go to the student that trained on them")
    even = partition_texts(clouds([10, 10]), 2, prompts, torch.Generator().manual_seed(0))
    assert even.routed == 1
    assert even.tightness > 0.9


def test_classes_are_dealt_out_by_their_embeddings():
    part = partition_classes([3, 5, 7, 9], clouds([2, 2]), 2, ["a", "b", "c", "d"], torch.Generator().manual_seed(0))
    assert part.router == ClassRouter({3: 0, 5: 0, 7: 1, 9: 1})
    assert part.router.route([9, 3]) == [1, 0]
    alone = partition_classes([3, 5], clouds([2]), 1, ["a", "b"], torch.Generator().manual_seed(0))
    assert alone.router.route([5]) == [0]
    assert abs(alone.tightness) < 1e-6


def test_routers_are_saved_and_what_they_do_not_know_is_refused():
    table, texts = ClassRouter({0: 0, 4: 1}), TextRouter(unit(clouds([1, 1])))
    assert router_from_json(table.to_json()) == table
    again = router_from_json(texts.to_json())
    assert torch.allclose(again.centroids, texts.centroids)
    assert again.route(clouds([2, 3])) == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="class 2 is none that a student was made for; known: 0, 4"):
        table.route([0, 2])
    with pytest.raises(ValueError, match=r"names students \[0, 2\]"):
        ClassRouter({0: 0, 1: 2})
    with pytest.raises(ValueError, match="rows of width 8"):
        texts.route(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="neither a table"):
        router_from_json({"kind": "dice"})
