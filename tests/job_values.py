"""What a job's fields may hold, for hypothesis; and the job that a command line would run."""

import shlex

import pytest
from hypothesis import strategies as st
from samplesmith.app import cli
from typer.testing import CliRunner

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
prompts = texts.filter(str.strip)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | numbers | texts, lambda one: st.lists(one, max_size=2)
)
maps = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), values, max_size=2)
own = st.fixed_dictionaries(
    {},
    optional={
        "guidance_scale": numbers,
        "negative_prompt": texts,
        "height": st.integers(1, 4096),
        "width": st.integers(1, 4096),
    },
)
arguments = st.builds(lambda one, other: {**one, **other}, maps, own)
shared = {
    "model": texts,
    "judge": st.none() | texts,
    "seed": st.integers(0, 2**62),
    "arguments": arguments,
    "output": st.none() | st.just("out/x"),
    "dtype": st.sampled_from(["float32", "float16"]),
    "device": st.none() | st.just("cuda:1"),
    "offload": st.booleans(),
}
"""Fields of every job."""


def job_of(command, kind, module):
    """The job that a command line runs.

    Args:
        command: as a shell has it.
        kind: class of the job.
        module: name of the command's module, which makes a folder that is not to be made.
    """
    found = []

    def run(self, **_):
        found.append(self)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "check", lambda self: None)
        patch.setattr(kind, "run", run)
        patch.setattr(f"samplesmith.app.commands.{module}.make_folder", lambda folder: folder)
        name, *words = shlex.split(command)
        assert name == "samplesmith"
        result = CliRunner().invoke(cli.app, words)
    assert found, result.output
    return found[0]
