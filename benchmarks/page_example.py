"""Make the run that the page shows before a visitor has made one: `python benchmarks/page_example.py [PROMPT]`.

It is a search of the page itself, by the shipped model; see `app/page/search/example.py`.
"""

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from samplesmith.app.page.models import Models
from samplesmith.app.page.search.cost import CostEstimate
from samplesmith.app.page.search.example import write
from samplesmith.app.page.search.run import Batch, run_search
from samplesmith.app.page.studio import Studio
from samplesmith.pipelines import SearchJob

PROMPT = "five apples on green"


def main(prompt: str = PROMPT) -> None:
    studio = Studio(Models())
    job = SearchJob(
        (prompt,), verifiers=("emoji-clip",), judge="emoji-detector", candidates=8, batch_size=2, seed=0
    )  # the page's preset
    with TemporaryDirectory() as folder:
        work = partial(run_search, studio, CostEstimate(studio.models), job, Path(folder))
        turn = studio.line.join(work)
        following, tried = studio.line.follow(turn), []
        while True:
            try:
                news = next(following)
            except StopIteration as end:
                outcome = end.value
                break
            if isinstance(news, Batch):
                tried += news.tried
        write(outcome, tried)
    studio.close()
    print(f"best {outcome.best.seed}: {outcome.best.verdict}; first: {outcome.first.verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:])
