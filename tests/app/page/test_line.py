"""The line to the models: one at a time, places are shown, anyone may leave."""

import threading
import time

import pytest
from page_turns import follow_turn
from samplesmith.app.page.line import FullError, Line, Stopped, Waiting


@pytest.fixture
def line():
    line = Line(3)
    yield line
    line.close()


def test_the_line_serves_one_at_a_time_and_shows_places(line):
    gate, order = threading.Event(), []

    def work(name):
        def run(turn):
            gate.wait(10)
            order.append(name)
            turn.report(name)
            return name

        return run

    turns = [line.join(work(name)) for name in "abc"]
    with pytest.raises(FullError, match="3 visitors are in line already"):
        line.join(work("d"))
    following = line.follow(turns[2])
    assert next(following) == Waiting(2)
    gate.set()
    assert follow_turn(line, turns[0]) == (["a"], "a")
    assert follow_turn(line, turns[1]) == (["b"], "b")
    assert "c" in list(following)
    assert order == ["a", "b", "c"]
    line.join(work("e"))  # there is room again


def test_a_waiting_job_leaves_the_line_and_never_runs(line):
    gate, ran = threading.Event(), []
    first = line.join(lambda turn: gate.wait(10))
    second = line.join(lambda turn: ran.append(1))
    second.stop()
    with pytest.raises(Stopped):
        follow_turn(line, second)
    gate.set()
    follow_turn(line, first)
    assert not ran


def test_what_the_work_raises_reaches_who_follows(line):
    def broken(turn):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        follow_turn(line, line.join(broken))


def test_who_waits_is_told_how_long_by_the_turns_before(line):
    follow_turn(line, line.join(lambda turn: time.sleep(0.05)))
    gate = threading.Event()
    first = line.join(lambda turn: gate.wait(10))
    news = next(line.follow(line.join(lambda turn: None)))
    assert news.before == 1
    assert 0 < news.seconds < 10
    gate.set()
    follow_turn(line, first)


def test_a_closed_line_takes_nothing_more():
    line = Line(2)
    line.close()
    with pytest.raises(FullError, match="the page is being closed"):
        line.join(lambda turn: None)
