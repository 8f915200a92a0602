"""Following a turn in the line of the page to its end, as its handlers do."""


def follow_turn(line, turn, on_news=lambda turn, news: None):
    """All news of a turn, and its result."""
    news, following = [], line.follow(turn)
    while True:
        try:
            news.append(next(following))
        except StopIteration as end:
            return news, end.value
        on_news(turn, news[-1])


def follow_work(studio, work, on_news=lambda turn, news: None):
    """All news of a work that is put in the line, and its result."""
    return follow_turn(studio.line, studio.line.join(work), on_news)
