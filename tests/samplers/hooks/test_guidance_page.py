"""The programs of docs/guidance.md, as they are written."""

import re
from pathlib import Path

import samplesmith
import torch
from guided_runs import is_untouched

PAGE = (Path(samplesmith.__file__).parent / "docs/guidance.md").read_text()


def test_they_run_in_turn_and_leave_the_pipeline_as_it_was():
    scope = {}
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 5
    with torch.random.fork_rng():
        for program in programs:
            exec(program.replace("num_inference_steps=8", "num_inference_steps=2"), scope)
    assert scope["image"].size == (128, 128)
    assert scope["tokens"].shape == (1, 17)
    assert is_untouched(scope["pipe"].transformer)
    assert type(scope["pipe"].scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
