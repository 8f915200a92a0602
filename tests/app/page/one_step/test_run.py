"""The work of the one-step tab: the same noises in every row, what each costs, and best of N in the teacher's time."""

import math
import shlex
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from page_turns import follow_work
from PIL import Image
from samplesmith.app.page.line import Stopped
from samplesmith.app.page.models import Models
from samplesmith.app.page.one_step.request import OneStepRequest
from samplesmith.app.page.one_step.run import BestOfN, CallMade, Drawn, candidates_in, fits, run_one_step
from samplesmith.app.page.one_step.view import final_panel, panel, rows, summary
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.row import Row


def run(studio, folder, asked, on_news=lambda turn, news: None):
    folder.mkdir()
    request = OneStepRequest.of(studio.models, studio.limits, **asked).check()
    return follow_work(studio, partial(run_one_step, studio, request, folder), on_news)


def pixels(draw):
    return np.asarray(Image.open(draw.file))


def test_both_draw_from_the_same_noises_and_the_student_as_many_as_the_teacher_s_time_holds(studio, asked, tmp_path):
    news, done = run(studio, tmp_path / "a", asked)
    assert [one.setting.name for one in done.drawn] == ["teacher", "student_1", "student_2", "student_3"]
    assert [one.nfe for one in done.drawn] == [8, 1, 2, 3]
    for one in done.drawn:
        call = PipelineCall(studio.models.pipeline(one.setting.model), one.setting.arguments)
        plain, _ = call(Row.draws("a star on blue", [3, 4]))
        assert [draw.seed for draw in one.draws] == [3, 4]
        assert all((pixels(draw) == picture).all() for draw, picture in zip(one.draws, plain, strict=True))
        assert all(math.isfinite(draw.score) and draw.sight.right is not None for draw in one.draws)
    come = [one for one in news if isinstance(one, Drawn)]
    assert come == [*done.drawn[1:], done.drawn[0]], "the quick ones come first"
    shares = [one.share for one in news if isinstance(one, CallMade)]
    assert shares == sorted(shares)

    teacher, student, best = done.drawn[0], done.drawn[-1], done.best
    most = candidates_in(teacher.seconds, student.seconds + student.scoring, studio.limits.candidates)
    assert best.count == most or (best.count < most and best.count % 2 == 0), "all, or the batches that still fitted"
    assert best.nfe == 3 * best.count
    assert [draw.seed for draw in best.draws] == list(range(3, 3 + best.count))
    apart = np.abs(pixels(best.draws[0]).astype(int) - pixels(student.draws[0]))
    assert apart.max() <= 1, "the same noise, in a batch of another size"
    assert best.best.score == max(draw.score for draw in best.draws)
    assert best.seconds > 0

    shown = final_panel(done)
    assert shown.index("a star on blue") < shown.index("Teacher") < shown.index(f"Student&#x27;s best of {best.count}")
    assert f"and {3 * best.count} NFEs for {best.count} by toy-student, of which emoji-clip chose" in shown
    assert shown.count('class="cell best"') == 1
    assert shown.count("The judge says") == 2
    below = rows(done.drawn, done.request, best)
    assert below.count("<img") == 8 + best.count
    assert below.count("time for each") == 4
    right = [sum(draw.sight.right for draw in one.draws) for one in done.drawn]
    assert summary(done) == (
        f"2 noises. The judge: teacher {right[0]} of 2 right, student in 1 step {right[1]} of 2 right, "
        f"student in 2 steps {right[2]} of 2 right, student in 3 steps {right[3]} of 2 right."
    )


@pytest.mark.parametrize(("seconds", "price", "count"), [(1.0, 0.3, 3), (1.0, 0.25, 4), (0.1, 0.3, 1), (1.0, 1e-6, 64)])
def test_what_fits_is_whole_candidates_one_at_least_and_what_a_visitor_may_ask_at_most(seconds, price, count):
    assert candidates_in(seconds, price, 64) == count


def test_a_search_that_has_become_slower_ends_before_it_takes_longer_than_the_teacher():
    assert fits(0.5, 4, 4, 1.0)
    assert fits(0.54, 4, 4, 1.0), "a tenth more is no matter"
    assert not fits(0.56, 4, 4, 1.0)
    assert fits(0.7, 4, 2, 1.0)


def test_cancel_ends_the_run_and_the_next_one_is_whole(studio, asked, tmp_path):
    def cancel(turn, news):
        if isinstance(news, Drawn):
            turn.stop()

    with pytest.raises(Stopped):
        run(studio, tmp_path / "a", asked, cancel)
    _, done = run(studio, tmp_path / "b", asked | {"steps": "1", "images": 1, "judge": "none"})
    assert [one.nfe for one in done.drawn] == [8, 1]
    assert "The judge says" not in final_panel(done)
    assert summary(done) == "1 noise, drawn by both."


def test_a_judge_without_words_says_its_score(studio, asked, tmp_path):
    _, done = run(studio, tmp_path / "a", asked | {"steps": "1", "images": 1, "judge": "emoji-aesthetic"})
    assert all(draw.sight.words.startswith("emoji-aesthetic: ") for one in done.drawn for draw in one.draws)


def test_what_is_to_come_is_empty_and_what_failed_says_why(studio, asked, tmp_path):
    request = OneStepRequest.of(studio.models, studio.limits, **asked)
    assert panel([], request).count("<img") == 0
    assert rows([], request).count("<img") == 0
    assert rows([], request).count("cell empty") == 5 * 2
    _, done = run(studio, tmp_path / "a", asked | {"steps": "1", "images": 1})
    student_alone = panel(done.drawn[1:], request)
    assert "Student&#x27;s first draw" in student_alone
    assert student_alone.count("<img") == 1
    failed = BestOfN(2, [], None, "emoji-clip gave NaN", 2, 0.1)
    shown = final_panel(replace(done, best=failed))
    assert "emoji-clip gave NaN" in shown
    assert shown.count("<img") == 1


def test_the_shipped_student_and_the_lines_that_make_its_pictures(
    emoji_pipe, emoji_clip, judge, samplesmith, asked, tmp_path
):
    from samplesmith import load
    from samplesmith.app.page.studio import Studio

    models = Models()
    for name, model in {"emoji-sd3": emoji_pipe, "emoji-clip": emoji_clip, "emoji-detector": judge}.items():
        models.keep(name, model)
    student = load("emoji-turbo")
    student.set_progress_bar_config(disable=True)
    models.keep("emoji-turbo", student)
    assert models.students == ["emoji-turbo"]
    studio = Studio(models)
    _, done = run(studio, tmp_path / "shown", asked | {"model": "emoji-turbo", "prompt": "two cats on pink"})
    studio.close()
    own = models.default_steps("emoji-turbo")
    assert [one.nfe for one in done.drawn] == [56, *sorted({1, 2, own})]
    assert done.best.nfe == own * done.best.count

    for command, one in zip(done.request.command(done.best.count).splitlines(), done.drawn, strict=False):
        if one.setting.is_student:
            made = samplesmith(*shlex.split(command)[1:])
            assert made.returncode == 0, made.stderr
            for draw in one.draws:
                again = tmp_path / "outputs" / one.setting.name / f"seed_{draw.seed}.png"
                assert again.read_bytes() == draw.file.read_bytes()
    program = (
        done.request.python(done.best.count).replace("samplesmith.load", "given").replace("load_verifier(", "scores(")
    )
    names = {"given": models.pipeline, "scores": {"emoji-clip": emoji_clip}.get}
    exec(compile(program, "program", "exec"), names)
    for one in done.drawn:
        for k, draw in enumerate(one.draws):
            again = np.asarray(Image.open(tmp_path / f"{one.setting.name}_{k}.png")).astype(int)
            assert np.abs(again - pixels(draw)).max() <= 1
    assert (np.asarray(Image.open(tmp_path / "best.png")) == pixels(done.best.best)).all()
