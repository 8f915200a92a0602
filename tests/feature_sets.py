"""Sets of features and of images to measure, and processes that share them."""

import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def covariance(dim, rank=None, seed=0):
    factor = normal(dim, rank or dim, seed=seed)
    return factor @ factor.T


def pixels(images):
    """Features that are the pixels themselves."""
    return images.flatten(1)


def in_processes(count, work, *args):
    """What `work(rank, *args)` returns in each of so many processes under gloo, by rank; an error as its text."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_run, (count, port, results, work, args), nprocs=count, start_method="fork")
        found = dict(results)
    return [found[rank] for rank in range(count)]


def _run(rank, count, port, results, work, args):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    try:
        results[rank] = work(rank, *args)
    except ValueError as error:
        results[rank] = str(error)
    dist.destroy_process_group()
