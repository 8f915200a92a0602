"""One search by several processes: the records are those of one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.search.merge import merge_leftovers, merge_when_last
from samplesmith.pipelines.search.records import RecordFile, read_records, write_records
from samplesmith.pipelines.search.shards import Shard

SCRIPT = """
import os, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
pipe = toys.build("StableDiffusion")
result = NoiseSearch(pipe, Brightness(), sys.argv[2])(
    ["a cat", "a dog", "a star"], batch_size=2, progress=False, output_dir=sys.argv[1],
    **{{sys.argv[3]: int(sys.argv[4])}}, **toys.SMALL)
with open(sys.argv[1] + ".rank" + os.environ.get("RANK", "0"), "w") as file:
    numbers = [int(result.whole), len(result.records), *(best.record.prompt_index for best in result.best)]
    file.write(" ".join(map(str, numbers)))
"""


def command(tmp_path, folder, strategy, *budget):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(toys.__file__).parents[1])))
    return [sys.executable, str(script), str(folder), strategy, *budget]


def start(tmp_path, folder, shard, strategy, *budget):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if shard is not None:
        environment |= {"RANK": str(shard.rank), "WORLD_SIZE": str(shard.size)}
    return subprocess.Popen(command(tmp_path, folder, strategy, *budget), env=environment, stderr=subprocess.PIPE)


def end(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "zero-order"])
def test_two_processes_leave_the_records_of_one(tmp_path, strategy):
    """The second begins when the first has long ended: nobody waits. The last returns the whole."""
    budget = "num_candidates", "5"
    end(start(tmp_path, tmp_path / "alone", None, strategy, *budget))
    together = tmp_path / "together"
    end(start(tmp_path, together, Shard(0, 2), strategy, *budget))
    assert not (together / "records.jsonl").exists()
    end(start(tmp_path, together, Shard(1, 2), strategy, *budget))
    said = [Path(f"{together}.rank{rank}").read_text() for rank in range(2)]
    assert said == ["0 10 0 2", "1 15 0 1 2"]
    files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("alone", "together")]
    assert files[0] == files[1]
    assert not list(together.glob("records.*-of-*"))
    ledger = json.loads((together / "ledger.json").read_text())
    assert ledger["nfe"] == sum(json.loads(line)["nfe"] for line in files[0].splitlines())


@pytest.mark.slow
def test_started_at_once_by_torchrun_and_killed(tmp_path):
    """What is left of two that were killed is gone on with by one."""
    folder, budget = tmp_path / "run", ("random", "num_candidates", "5")
    end(start(tmp_path, tmp_path / "alone", None, *budget))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    torchrun += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", *command(tmp_path, folder, *budget)[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    process = subprocess.Popen(torchrun, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    while not any(folder.glob("records.*")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end(start(tmp_path, folder, None, *budget))
    assert (folder / "records.jsonl").read_bytes() == (tmp_path / "alone/records.jsonl").read_bytes()
    assert not list(folder.glob("records.*-of-*"))


@pytest.fixture
def finished(tmp_path):
    """A folder with the records of three prompts, and what was asked for."""
    pipe = toys.build("StableDiffusion")
    search = NoiseSearch(pipe, Brightness())
    folder = tmp_path / "run"
    arguments = {"num_candidates": 3, "batch_size": 2, "progress": False, **toys.SMALL}
    search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    return search, folder, arguments


def deal(folder, size):
    """Leave the records as so many processes that ended before they were merged."""
    records = read_records(folder / "records.jsonl")
    for rank in range(size):
        shard = Shard(rank, size)
        write_records(folder / f"records.{shard.name}.jsonl", [one for one in records if shard.owns(one.prompt_index)])
    (folder / "records.jsonl").unlink()


@pytest.mark.parametrize("sizes", [(2,), (3,), (2, 4)])
def test_another_number_of_processes_goes_on(finished, sizes):
    search, folder, arguments = finished
    expected = (folder / "records.jsonl").read_bytes()
    for size in sizes:
        deal(folder, size)
        merge_leftovers(folder, None)
        assert (folder / "records.jsonl").read_bytes() == expected
    assert not list(folder.glob("*-of-*.jsonl"))
    again = search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    assert (again.ledger.nfe_lost, len(again.records)) == (0, 9)


def test_the_own_teams_files_are_left_to_their_owners(finished):
    _, folder, _ = finished
    deal(folder, 2)
    merge_leftovers(folder, Shard(0, 2))
    assert not (folder / "records.jsonl").exists()
    assert not merge_when_last(folder, Shard(1, 2))
    assert merge_when_last(folder, Shard(0, 2))
    assert len(read_records(folder / "records.jsonl")) == 9


def test_a_second_search_in_the_same_folder_is_refused_while_the_first_runs(finished):
    search, folder, arguments = finished
    run = json.loads((folder / "run.json").read_text())
    for shard in (None, Shard(1, 2)):
        with RecordFile(folder, run, shard), pytest.raises(RecordsError, match="another search is writing to"):
            search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    assert len(search(["a cat", "a dog", "a star"], output_dir=folder, **arguments).records) == 9


def test_a_refused_run_leaves_the_folder_unlocked(finished):
    search, folder, arguments = finished
    with pytest.raises(RecordsError, match="holds another run"):
        search(["a cat"], output_dir=folder, **arguments)
    assert len(search(["a cat", "a dog", "a star"], output_dir=folder, **arguments).records) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "share their records through output_dir"),
        ({"output_dir": "x", "stop_at": 0.5}, "several processes cannot"),
        ({"output_dir": "x"}, "2 processes share 1 prompts, and each needs at least one; start fewer processes"),
    ],
)
def test_what_processes_cannot_do_is_one_sentence(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    pipe = toys.build("StableDiffusion")
    with pytest.raises(ValueError, match=message):
        NoiseSearch(pipe, Brightness())("a cat", num_candidates=2, progress=False, **arguments, **toys.SMALL)


def test_a_share_is_not_saved_over_the_whole(finished, monkeypatch):
    search, folder, arguments = finished
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    share = search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    assert (share.whole, share.ledger.nfe_lost, len(share.records)) == (False, 0, 3)
    with pytest.raises(ValueError, match="the share of one process; save that of the last to end"):
        share.save(folder)
