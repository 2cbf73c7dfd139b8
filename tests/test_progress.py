"""Bars and lines appear for long steps only."""

import time

import pytest

from tasksift import progress


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("total", [0, 8])
def test_a_long_step_shows_its_rate_and_a_short_one_nothing(monkeypatch, capsys, terminal, total):
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with progress.bars("short step", total) as tick:
        tick(8)
    assert capsys.readouterr().err.strip() == ""
    with progress.bars("long step", total) as tick:
        for _ in range(6):
            time.sleep(0.1)
            tick(1)
    said = capsys.readouterr().err
    assert "long step" in said
    assert "/s" in said
    assert ("%" in said) == bool(total)


def test_an_error_in_a_step_passes_through():
    with pytest.raises(ZeroDivisionError), progress.bars("step", 3) as tick:
        tick(1 // 0)


RATES = [(0.05, "3.0/min"), (5, "5/s"), (5400, "5.4k/s"), (2.1e6, "2.1M/s"), (3e9, "3.0G/s")]


@pytest.mark.parametrize(("rate", "text"), RATES)
def test_rates(rate, text):
    assert progress._rate(rate * 2, 2) == text
