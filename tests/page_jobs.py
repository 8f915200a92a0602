"""Following a job of the page to its end, as its handlers do."""


def follow_job(line, job, on_news=lambda job, news: None):
    """All news of a job, and its result."""
    news, following = [], line.follow(job)
    while True:
        try:
            news.append(next(following))
        except StopIteration as end:
            return news, end.value
        on_news(job, news[-1])


def follow_work(studio, work, on_news=lambda job, news: None):
    """All news of a work that is put in the line, and its result."""
    return follow_job(studio.line, studio.line.join(work), on_news)
