"""Plain words in place of long errors."""

from samplesmith.app.page.models import Models
from samplesmith.app.page.shell import build_page
from samplesmith.app.page.studio import Studio
from samplesmith.app.page.tabs import TABS
from samplesmith.app.page.words import GLOSSARY, refusal, term
from samplesmith.scenes import UnknownWordError


def test_an_unknown_word_is_answered_by_words_to_click():
    try:
        try:
            raise UnknownWordError(["<dragon>"])
        except UnknownWordError as error:
            raise ValueError("emoji-clip cannot read the prompt") from error
    except ValueError as error:
        html = refusal(error, "six lines")
    assert "six lines" not in html
    assert "&lt;dragon&gt;" in html
    assert 'data-word="fish" data-replaces="&lt;dragon&gt;"' in html
    assert refusal(ValueError("x"), "one sentence").count("<button") == 0


def test_terms_explain_themselves_to_ears_too():
    for word, meaning in GLOSSARY.items():
        assert f'aria-label="{word}: {meaning}"' in term(word)


def test_every_tab_says_what_it_does_and_the_page_what_its_words_mean():
    studio = Studio(Models())
    page = build_page(studio)
    studio.close()
    html = [str(block.value) for block in page.blocks.values() if type(block).__name__ == "HTML"]
    about = [one for one in html if one.startswith('<p class="about">')]
    assert len(about) == len(TABS)
    assert all(len(one.split()) > 15 for one in about)
    assert {"NFE", "verifier", "judge", "window", "cutoff", "FID"} <= set(GLOSSARY)
    (glossary,) = [one for one in html if 'class="glossary"' in one]
    assert all(f"<dt>{word}</dt>" in glossary for word in GLOSSARY)
