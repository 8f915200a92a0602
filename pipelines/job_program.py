"""What the Python programs of all jobs have: imports, and the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import Job

IMPORTS = {
    "samplesmith.load(": "import samplesmith",
    "= NoiseSearch(": "from samplesmith.pipelines import NoiseSearch",
    "= steer(": "from samplesmith.pipelines import steer",
    "= superpose(": "from samplesmith.pipelines import superpose",
    "shipped_calibration(": "from samplesmith.pipelines.search.auto_steps import shipped_calibration",
    "judged(": "from samplesmith.pipelines.superposition.judged import judged",
    "apply_hook(": "from samplesmith.samplers.by_name import apply_hook",
    "set_scheduler(": "from samplesmith.samplers.by_name import set_scheduler",
    "RankEnsemble(": "from samplesmith.verifiers import RankEnsemble",
    "load_verifier(": "from samplesmith.verifiers import load_verifier",
}
"""What lines need, by what stands in them; in the order of the modules."""


def program(body: list[str], known: Mapping[str, str] = IMPORTS) -> str:
    """Lines with the imports that they need before them."""
    text = "\n".join(body)
    return "\n".join([*(line for call, line in known.items() if call in text), "", text]) + "\n"


def pipeline_lines(job: Job) -> list[str]:
    """The pipeline, loaded where the job runs it."""
    if job.model is None:
        return ["pipe = ...  # your pipeline"]
    from .on_device import default_device

    dtype = "" if job.dtype == "float32" else f", dtype={job.dtype!r}"
    line = f"pipe = samplesmith.load({job.model!r}{dtype})"
    if job.offload:
        device = "" if job.device is None else f"device={job.device!r}"
        return [line, f"pipe.enable_model_cpu_offload({device})"]
    device = job.device or default_device()
    return [line if device == "cpu" else f"{line}.to({device!r})"]
