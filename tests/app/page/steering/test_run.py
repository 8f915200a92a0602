"""A steered search of the page as its work, without a browser: what a visitor gets, and cancelling."""

import re
from functools import partial

from page_turns import follow_work
from samplesmith.app.page.steering.run import Nodes, RivalSpent, run_steering
from samplesmith.app.page.steering.view import SteeringView, facts, final_answer, reward_chart, summary
from samplesmith.pipelines import SteerJob

JOB = SteerJob(
    prompts=("two cats on pink",),
    verifiers=("emoji-clip",),
    judge="emoji-detector",
    strategy="rbf:warm_up=3,quota=2",
    budget=30,
    seed=7,
    steps=3,
)


def test_nodes_come_in_and_the_end_shows_the_path_beside_best_of_n(studio, tmp_path):
    news, outcome = follow_work(studio, partial(run_steering, studio, JOB, tmp_path))
    nodes = [one for one in news if isinstance(one, Nodes)]
    assert [one.ledger.nfe for one in nodes][-1] == 30
    assert [one.nfe for one in news if isinstance(one, RivalSpent)][-1] == 30
    assert [one.record.steps_done for one in outcome.path] == [1, 2, 3]
    assert outcome.best.score == outcome.result.best[0].score
    assert outcome.rival_count == 5
    assert re.match(r"(right|wrong): two cats: found \d", outcome.best.verdict)
    assert (tmp_path / "steered/best.png").exists()

    view = SteeringView(JOB)
    assert view.strip().count("<figure") == 3, "the places of those to come are kept"
    view.take(nodes[0])
    assert view.strip().count("<img") == 1
    assert "early look, step 1 of 3, seed 7" in view.answer()
    for one in nodes[1:]:
        view.take(one)
    assert "30 of 30 NFEs, step 3 of 3, best image" in view.progress()
    view.end(outcome)
    alts = re.findall(r'alt="([^"]*)"', view.strip())
    assert [alt.split(", ")[1] for alt in alts] == ["step 1 of 3", "step 2 of 3", "the image"]
    assert alts[-1].endswith(f"score {outcome.best.score:.3f}")
    count = len(outcome.result.records)
    assert f"3 nodes gone on from, {count - 3} refused" in view.chart()
    assert view.chart().count("<title>") == count
    tried = [int(number) for number in re.findall(r"</div></div>(\d+)</div>", view.tries())]
    assert tried[0] == 3
    assert sum(tried) == count
    assert summary(outcome).startswith(f"The best image has score {outcome.best.score:.3f}; best of 5 for the same")
    panel = final_answer(outcome)
    assert panel.index("two cats on pink") < panel.index("Steered") < panel.index("Best of 5 draws")
    assert panel.count('class="cell best"') == 1, "the higher score is marked"
    assert 'class="cell best"' in panel.split("Best of 5")[outcome.rival.score > outcome.best.score]
    assert panel.count("The judge says") == 2
    assert facts(outcome).count("download=") == 2


def test_cancelling_keeps_what_was_found_and_draws_no_rival(studio, tmp_path):
    def cancel(turn, news):
        if isinstance(news, Nodes):
            turn.stop()

    news, outcome = follow_work(studio, partial(run_steering, studio, JOB, tmp_path), cancel)
    assert outcome is None or outcome.stopped
    assert not any(isinstance(one, RivalSpent) for one in news)
    if outcome is not None:
        assert outcome.rival is None
        assert "No image: cancelled" in summary(outcome) or summary(outcome).startswith("Cancelled: the best image")
    _, outcome = follow_work(studio, partial(run_steering, studio, JOB, tmp_path / "next"))
    assert not outcome.stopped, "the hook that stops is gone"


def test_particles_that_went_on_are_told_from_those_that_did_not(studio, tmp_path):
    job = SteerJob(JOB.prompts, verifiers=("emoji-clip",), strategy="smc:particles=4,tilt=200", budget=24, steps=3)
    _, outcome = follow_work(studio, partial(run_steering, studio, job, tmp_path))
    records = [candidate.record for candidate in outcome.result.evaluated]
    chart = reward_chart(records, [candidate.record for candidate in outcome.path], 24)
    parents = {record.node.parent.id for record in records if record.node.parent}
    assert f"{len(parents) + 1} nodes gone on from" in chart
