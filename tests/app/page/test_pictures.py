"""Pictures as HTML."""

from samplesmith.app.page.pictures import Picture, grid, notice, progress


def test_what_is_shown_is_escaped_and_keeps_its_places(tmp_path):
    evil = '<script>alert("x")</script>'
    html = grid([Picture(tmp_path / "a b.png", evil, evil, marked=True)], places=4, label=evil)
    assert "<script>" not in html
    assert html.count("<figure") == 4
    assert html.count('class="cell best"') == 1
    assert "a%20b.png" in html
    assert "<b>" not in notice("<b>", "wrong")
    assert 'role="alert"' in notice("x", "wrong")
    assert 'aria-valuenow="50"' in progress("half", 0.5)
