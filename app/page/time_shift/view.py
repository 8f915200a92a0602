"""What the time-shift tab shows, as HTML: plain beside shifted, their difference, and the times that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..answer import Shot, answer
from ..line_chart import Series, line_chart
from ..pictures import Picture, grid, notice
from ..words import term
from .comparison import AMPLIFIED, Comparison
from .measured import measured

TITLES = {
    "plain": "Plain",
    "shifted": "Shifted, from the same noises",
    "difference": f"Difference, {AMPLIFIED} times as large",
}
NOT_MEASURED = "Which is better is not measured for this setting."


def waiting(condition: str) -> str:
    """The panel at the top while nothing has come."""
    return answer(condition, [Shot(title, note="will stand here") for title in ("Plain", "Shifted")], judged=False)


def final_answer(comparison: Comparison) -> str:
    """The first noise's picture, plain and shifted, and what was measured of the setting."""
    request = comparison.request
    shots = [
        Shot("Plain", comparison.plain[0], request.seed),
        Shot("Shifted", comparison.shifted[0], request.seed),
    ]
    said = measured(request)
    line = f"The same noise in both. {f'Measured over many pictures: {said}.' if said else NOT_MEASURED}"
    return answer(request.condition, shots, line, judged=False)


def titled_grid(which: str, shown: Sequence[Picture], places: int) -> str:
    """A row of pictures under its title.

    Args:
        which: of `TITLES`.
        shown: as far as they have come.
        places: how many there will be.
    """
    title = f'<h2 class="result-title">{escape(TITLES[which])}</h2>'
    return title + grid(shown, places, f"{which} samples")


def pictures(comparison: Comparison, which: str) -> str:
    """The row of a kind of pictures."""
    files = {"plain": comparison.plain, "shifted": comparison.shifted, "difference": comparison.difference}[which]
    condition, first = comparison.request.condition, comparison.request.seed
    shown = [
        Picture(file, f"{condition}, {which}, seed {seed}", f"seed {seed}", seed=seed)
        for seed, file in enumerate(files, first)
    ]
    return titled_grid(which, shown, len(shown))


def shift_chart(comparison: Comparison | None) -> str:
    """How far the chosen times lie from the grid's, against the grid's; noise on the right."""
    if comparison is None:
        return line_chart([], "time of the grid", "chosen - grid", (0, 1000), "times chosen, none yet")
    dots, labels = [], []
    for time, row in zip(comparison.grid, comparison.chosen, strict=True):
        dots += [(time, chosen - time) for chosen in row]
        labels += [f"{time:.4g} of the grid, {chosen:.4g} chosen" for chosen in row]
    half = comparison.request.window / 2
    middle = [(time, sum(row) / len(row) - time) for time, row in zip(comparison.grid, comparison.chosen, strict=True)]
    edges = [
        Series("window" if sign > 0 else "", [(0, sign * half), (1000, sign * half)], "line", 2) for sign in (1, -1)
    ]
    return line_chart(
        [*edges, Series("each image", dots, "dots", 1, labels), Series("mean", middle, "line", 0)],
        "time of the grid",
        "chosen - grid",
        (0, 1000),
        "how far the chosen times lie from the grid's",
    )


def facts(comparison: Comparison) -> str:
    """What was measured of the setting, and the times one by one."""
    request = comparison.request
    notes = "".join(notice(note) for note in comparison.notes)
    if comparison.saturated is None:
        share = "none was made"
    else:
        share = f"{comparison.saturated:.0%} fell on an end of the window, so a better time may lie beyond it"
    table = measured(request)
    rows = "".join(
        f"<tr><td>{time:.4g}</td><td>{', '.join(f'{one:.4g}' for one in row)}</td></tr>"
        for time, row in zip(comparison.grid, comparison.chosen, strict=True)
    )
    return (
        f"{notes}<p><strong>Matches:</strong> {share}.</p>"
        f"<p><strong>Measured ({term('FID')}):</strong> {escape(table or 'this setting is not in the table')}.</p>"
        "<details><summary>The grid's times and the times chosen</summary><table><thead><tr><th>grid</th>"
        f"<th>chosen, one for each image</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )
