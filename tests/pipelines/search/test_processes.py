"""One search by several processes: the records are those of one."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.search.processes import Team, _deal, _join
from samplesmith.pipelines.search.records import RecordFile

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
    file.write(" ".join([os.environ.get("WORLD_SIZE", "1"), str(len(result.records)), str(result.best[1].seed)]))
"""


def launch(tmp_path, folder, count, strategy, *budget):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(toys.__file__).parents[1])))
    start = [sys.executable]
    if count > 1:
        start += ["-m", "torch.distributed.run", f"--nproc_per_node={count}", "--master_port=0", "--rdzv_backend=c10d"]
        start += ["--rdzv_endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [*start, str(script), str(folder), strategy, *budget]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return [file.read_text().split() for file in sorted(tmp_path.glob(f"{folder.name}.rank*"))]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "zero-order"])
def test_two_processes_leave_the_records_of_one(tmp_path, strategy):
    alone = launch(tmp_path, tmp_path / "alone", 1, strategy, "num_candidates", "5")
    together = launch(tmp_path, tmp_path / "together", 2, strategy, "num_candidates", "5")
    assert [line[0] for line in together] == ["2", "2"]
    assert together[0][1:] == together[1][1:] == alone[0][1:]
    files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("alone", "together")]
    assert files[0] == files[1]
    assert not list((tmp_path / "together").glob("*-of-*"))
    assert json.loads((tmp_path / "together/ledger.json").read_text())["nfe"] == sum(
        json.loads(line)["nfe"] for line in files[0].splitlines()
    )


@pytest.fixture
def finished(tmp_path):
    """A folder with the records of three prompts, and what was asked for."""
    pipe = toys.build("StableDiffusion")
    search = NoiseSearch(pipe, Brightness())
    folder = tmp_path / "run"
    arguments = {"num_candidates": 3, "batch_size": 2, "progress": False, **toys.SMALL}
    search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    return search, folder, arguments


def test_records_are_dealt_out_and_joined(finished):
    _, folder, _ = finished
    expected = (folder / "records.jsonl").read_bytes()
    run = json.loads((folder / "run.json").read_text())
    with RecordFile(folder, run) as whole:
        _deal(whole, Team(0, 2))
        shares = [RecordFile(folder, {}, part=f"{rank}-of-2").records for rank in range(2)]
        assert [[record["prompt_index"] for record in share] for share in shares] == [[0] * 3 + [2] * 3, [1] * 3]
        assert not whole.file.exists()
        whole.records = []
        _join(whole)
    assert (folder / "records.jsonl").read_bytes() == expected
    assert not list(folder.glob("*-of-*"))


def test_a_crash_while_records_are_dealt_out_loses_nothing(finished):
    """The whole file and one part are there: joined, each record counts once; another number of processes goes on."""
    _, folder, _ = finished
    expected = (folder / "records.jsonl").read_bytes()
    run = json.loads((folder / "run.json").read_text())
    with RecordFile(folder, run) as whole:
        RecordFile(folder, {}, part="1-of-4").replace(whole.records[3:5])
        _join(whole)
    assert (folder / "records.jsonl").read_bytes() == expected


def test_a_second_search_in_the_same_folder_is_refused_while_the_first_runs(finished):
    search, folder, arguments = finished
    run = json.loads((folder / "run.json").read_text())
    with RecordFile(folder, run), pytest.raises(RecordsError, match="another search is writing to"):
        search(["a cat", "a dog", "a star"], output_dir=folder, **arguments)
    assert len(search(["a cat", "a dog", "a star"], output_dir=folder, **arguments).records) == 9


def test_a_refused_run_leaves_the_folder_unlocked(finished):
    search, folder, arguments = finished
    with pytest.raises(RecordsError, match="holds another run"):
        search(["a cat"], output_dir=folder, **arguments)
    assert len(search(["a cat", "a dog", "a star"], output_dir=folder, **arguments).records) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "share their records through output_dir"), ({"output_dir": "x", "stop_at": 0.5}, "several processes cannot")],
)
def test_what_processes_cannot_do_is_one_sentence(monkeypatch, tmp_path, arguments, message):
    from samplesmith.pipelines.search import noise_search

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noise_search, "processes", lambda: nullcontext(Team(0, 2)))
    pipe = toys.build("StableDiffusion")
    with pytest.raises(ValueError, match=message):
        NoiseSearch(pipe, Brightness())("a cat", num_candidates=2, progress=False, **arguments, **toys.SMALL)
