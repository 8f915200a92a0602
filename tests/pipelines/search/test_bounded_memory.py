"""A long list of prompts takes no more memory than a short one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
pipe = toys.build("StableDiffusion")
# Pictures of 256 x 256: were they kept, four hundred prompts would take 160 MB more.
small = pipe.image_processor.postprocess
def large(image, output_type, **more):
    image = small(image, output_type, **more)
    return image.repeat(8, 1).repeat(8, 2) if output_type == "np" else image
pipe.image_processor.postprocess = large
call = {{**toys.SMALL, "num_inference_steps": int(sys.argv[4])}}
prompts = [f"a cat and {{k}} dogs" for k in range(int(sys.argv[1]))]
result = NoiseSearch(pipe, Brightness(), sys.argv[3])(
    prompts, num_candidates=2, batch_size=2, progress=False, output_dir=sys.argv[2], **call)
result.save(sys.argv[2])
assert len(result.best) == len(prompts)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(folder, prompts, strategy, steps) -> float:
    """Megabytes of a process that searches so many prompts and saves the result."""
    script = SCRIPT.format(tests=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", script, str(prompts), str(folder), strategy, str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return float(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "steps"), [("random", 1), ("halving", 2)])
def test_hundreds_of_prompts_in_the_memory_of_ten(tmp_path, strategy, steps):
    few, many = (peak(tmp_path / str(count), count, strategy, steps) for count in (10, 400))
    assert many - few < 120
