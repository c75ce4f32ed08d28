import contextlib
import time

import pytest

from daskimg import progress
from daskimg.build import Tally


@pytest.fixture
def lines(monkeypatch, capsys):
    """A watcher of 3,000 samples where there is no terminal, and what it has written."""
    monkeypatch.setattr(progress, "_EVERY", 0.05)
    return progress.watcher(3000), lambda: capsys.readouterr().err.splitlines()


def test_a_log_has_a_line_now_and_then_also_while_no_shard_is_finished(lines):
    watcher, written = lines

    with watcher:
        watcher.start()
        time.sleep(0.3)

    found = written()
    assert set(found) == {"0 of 3,000 samples"}
    assert len(found) >= 2


def test_the_last_line_is_the_last_count(lines):
    watcher, written = lines

    with watcher:
        watcher.start()
        watcher(Tally(3000, done=1000, failed=2, seconds=4.0))
        time.sleep(0.2)
        watcher(Tally(3000, done=3000, failed=7, seconds=10.0))

    found = written()
    assert found[0] == "1,000 of 3,000 samples, 250 images/s, 2 failed, about 0:08 left"
    assert found[-1] == "3,000 of 3,000 samples, 300 images/s, 7 failed"


def test_a_run_that_never_began_leaves_no_line(lines):
    watcher, written = lines

    with watcher:
        pass

    assert written() == []


def test_an_error_ends_the_lines(lines):
    watcher, written = lines

    with contextlib.suppress(ValueError), watcher:
        watcher.start()
        raise ValueError

    assert written() == ["0 of 3,000 samples"]
    time.sleep(0.2)
    assert written() == []
