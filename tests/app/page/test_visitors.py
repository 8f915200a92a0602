"""Visitors have folders of their own and leave nothing behind."""

import threading
import time

import pytest
from page_turns import follow_turn
from samplesmith.app.page.line import Line
from samplesmith.app.page.visitors import IDLE, BusyError, Visitors


@pytest.fixture
def line():
    line = Line(3)
    yield line
    line.close()


def test_visitors_have_folders_of_their_own_and_leave_nothing(line):
    visitors = Visitors()
    one, other = visitors.visitor("../../etc"), visitors.visitor("b")
    folder = one.new_folder("Search")
    assert folder.is_relative_to(visitors.home)
    assert not folder.is_relative_to(other.folder)
    assert visitors.visitor("../../etc") is one
    again = one.new_folder("Search")
    assert again != folder
    assert not folder.exists(), "the last run's files go when the next begins"

    gate = threading.Event()

    def work(turn):
        (again / "seen.txt").write_text("x")
        gate.wait(10)
        (again / "late.txt").write_text("x")

    turn = line.join(work)
    one.began("Search", turn)
    with pytest.raises(BusyError, match="still under way"):
        one.new_folder("Search")
    assert one.new_folder("Time shift").exists()
    visitors.leave("../../etc")
    assert turn.stopped
    assert again.exists(), "while the run has not let go"
    gate.set()
    follow_turn(line, turn)
    for _ in range(3000):
        if not one.folder.exists():
            break
        time.sleep(0.02)
    assert not one.folder.exists()
    visitors.close()
    assert not visitors.home.exists()


def test_scripts_that_never_say_goodbye_are_forgotten_but_open_pages_are_not():
    visitors = Visitors()
    script, page = visitors.visitor("script"), visitors.visitor("page")
    visitors.open("page")
    folders = [one.new_folder("Search") for one in (script, page)]
    script.seen -= 2 * IDLE
    visitors.visitor("another")
    page.seen -= 2 * IDLE
    visitors.visitor("another")
    assert [folder.exists() for folder in folders] == [False, True]
    visitors.close()


def test_of_requests_that_come_at_once_one_begins(line):
    visitors = Visitors()
    visitor, gate = visitors.visitor("a"), threading.Event()
    begun, refused = [], []

    def ask():
        try:
            begun.append(visitor.begin("Search", lambda folder: line.join(lambda turn: gate.wait(10))))
        except BusyError:
            refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(begun), len(refused)) == (1, 7)
    gate.set()
    follow_turn(line, begun[0])
    visitors.close()
