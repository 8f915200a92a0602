"""Plain words in place of long errors."""

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
