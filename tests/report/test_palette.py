"""The colours of series: told apart with and without red or green, and seen on their paper."""

import re
from importlib.resources import files

import numpy as np
import pytest

# Linear RGB as seen without one kind of cone: Machado, Oliveira, Fernandes, IEEE TVCG 2009, severity 1.
SEEN = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}

# Oklab: Ottosson, 2020.
CONES = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
LAB = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]


def linear(text):
    values = np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def colour(name, theme):
    style = "".join(each.read_text() for each in files("tasksift.report").iterdir() if each.name.endswith(".css"))
    pair = re.search(re.escape(name) + r"[ {:]*(?:--hue: )?light-dark\((#\w{6}), (#\w{6})\)", style)
    return linear(pair[1 + (theme == "dark")])


def contrast(a, b):
    low, high = sorted(float(each @ [0.2126, 0.7152, 0.0722]) for each in (a, b))
    return (high + 0.05) / (low + 0.05)


def distances(colours, matrix):
    seen = np.clip(np.array(colours) @ np.array(matrix).T, 0, 1)
    lab = 100 * np.cbrt(seen @ np.array(CONES).T) @ np.array(LAB).T
    return np.linalg.norm(lab[:, None] - lab, axis=2)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_series_are_told_apart_and_seen(theme):
    hues = [colour(f".hue{i}", theme) for i in range(8)]
    paper = colour("--paper", theme)
    assert min(contrast(hue, paper) for hue in hues) >= 3
    for matrix in SEEN.values():
        apart = distances([*hues, colour(".yardstick", theme)], matrix)
        assert apart[np.triu_indices(9, 1)].min() >= 10
        assert min(apart[i, i + 1] for i in range(7)) >= 19


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["--ink", "--muted", "--accent"])
def test_texts_are_read(name, theme):
    for ground in ("--paper", "--sea", "--raised"):
        assert contrast(colour(name, theme), colour(ground, theme)) >= 4.5
