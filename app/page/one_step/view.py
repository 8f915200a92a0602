"""What the one-step tab shows, as HTML: one draw of the teacher beside the student's best of N, and a row for each."""

from __future__ import annotations

import math
from html import escape

from ..answer import Shot, answer
from ..controls import seconds_text
from ..draws import Draw
from ..judged import right_of
from ..ledger import numbers_html
from ..pictures import Picture, grid
from ..words import term
from .request import OneStepRequest, Setting
from .run import BestOfN, Drawn, OneStep

TEACHER, STUDENT = "Teacher's one draw", "Student's best of N"


def panel(drawn: list[Drawn], request: OneStepRequest) -> str:
    """The panel at the top while the run is under way: the student's first draw stands there until N is known."""
    shots = [Shot(title, note="will stand here") for title in (TEACHER, STUDENT)]
    for one in drawn:
        title = "Student's first draw" if one.setting.is_student else TEACHER
        shots[one.setting.is_student] = Shot.of(title, one.draws[0])
    return answer(request.prompt, shots)


def final_panel(done: OneStep) -> str:
    """One draw of the teacher beside what the student found in as many seconds; the guide's higher score is marked."""
    teacher, best, request = done.drawn[0], done.best, done.request
    first, title = teacher.draws[0], f"Student's best of {best.count}"
    if best.best is None:
        return answer(request.prompt, [Shot.of(TEACHER, first), Shot(title, note=best.reason or "none was scored")])
    ahead = _value(best.best) >= _value(first)
    said = (
        f"{seconds_text(teacher.seconds)} and {teacher.nfe:g} NFEs for one picture by {request.teacher}; "
        f"{seconds_text(best.seconds)} and {best.nfe:,} NFEs for {best.count} by {request.student}, of which "
        f"{request.job.guides[0]} chose."
    )
    shots = [Shot.of(TEACHER, first, not ahead), Shot.of(title, best.best, ahead)]
    return answer(request.prompt, shots, said)


def _value(draw: Draw) -> float:
    return draw.score if math.isfinite(draw.score) else -math.inf


def rows(drawn: list[Drawn], request: OneStepRequest, best: BestOfN | None = None) -> str:
    """A row for the teacher, for each number of the student's steps, and for best-of-N; what is to come is empty."""
    made = {one.setting.name: one for one in drawn}
    sections = [_section(one, made.get(one.name), request) for one in request.settings]
    return "".join([*sections, _search(best, request)])


def _section(setting: Setting, made: Drawn | None, request: OneStepRequest) -> str:
    title = f"<h3>{term(setting.title.lower(), setting.title)}: {escape(setting.says)}</h3>"
    if made is None:
        return f"<section>{title}{grid([], request.images, 'to come')}</section>"
    pictures = [_picture(draw, f"{request.prompt}, {setting.says}", f"seed {draw.seed}") for draw in made.draws]
    cost = {
        f"{term('NFE', 'NFEs')} for each": f"{made.nfe:g}",
        "time for each": seconds_text(made.seconds),
        "judge": right_of(draw.sight for draw in made.draws),
    }
    return f"<section>{title}{grid(pictures, request.images, setting.says)}{numbers_html(cost)}</section>"


def _search(best: BestOfN | None, request: OneStepRequest) -> str:
    name = request.settings[-1].says
    if best is None:
        title = f"<h3>In the teacher's time of one picture: {escape(name)}, best of N</h3>"
        return f"<section>{title}{grid([], request.images, 'to come')}</section>"
    title = f"<h3>In the teacher's time of one picture: {escape(name)}, best of {best.count}</h3>"
    pictures = []
    for draw in best.draws:
        caption = f"{draw.score:.3f}" if math.isfinite(draw.score) else "no score"
        alt = f"{request.prompt}, candidate of {name}, seed {draw.seed}, score {caption}"
        pictures.append(_picture(draw, alt, caption, draw is best.best))
    cost = {
        term("NFE", "NFEs"): f"{best.nfe:,}",
        "time": seconds_text(best.seconds),
        "judge": right_of(draw.sight for draw in best.draws),
    }
    return f"<section>{title}{grid(pictures, best.count, 'candidates')}{numbers_html(cost)}</section>"


def _picture(draw: Draw, alt: str, caption: str, marked: bool = False) -> Picture:
    return Picture(draw.file, alt, caption, marked, sight=draw.sight, seed=draw.seed)


def summary(done: OneStep) -> str:
    """The end in one line: what the judge counts in each row."""
    images = done.request.images
    parts = []
    for one in done.drawn:
        if count := right_of(draw.sight for draw in one.draws):
            who = f"student in {one.setting.steps}" if one.setting.is_student else "teacher"
            parts.append(f"{who} {count}")
    said = f". The judge: {', '.join(parts)}" if parts else ", drawn by both"
    return f"{images} noise{'s' if images > 1 else ''}{said}."
