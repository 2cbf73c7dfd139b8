"""docs/cluster.md: its files parse, its scripts are bash, its options exist, its figures are those of the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from tasksift.cli import app
from tasksift.engines import ray as engine
from tasksift.engines.ray_cluster import STORE_BYTES
from tasksift.engines.ray_worker import ATTEMPTS
from tasksift.represent.store import SHARD_BYTES
from tasksift.rows.slices import SLICE_BYTES

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def blocks(kind):
    found = re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert found, f"no block of {kind}"
    return found


def job():
    (text,) = blocks("yaml")
    return yaml.safe_load(text)


def options_of(name):
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def command_lines():
    """Every command of tasksift in a block, with the lines that go on with it."""
    script = "\n".join([*blocks("bash"), job()["spec"]["entrypoint"]]).replace("\\\n", " ")
    return re.findall(r"^tasksift (\w+) (.*)$", script, flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("script", blocks("bash"))
def test_scripts_are_bash(script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_have_the_options_that_they_are_given():
    lines = command_lines()
    assert len(lines) >= 4
    for name, rest in lines:
        assert set(OPTION.findall(rest)) <= options_of(name), rest
        assert "--engine ray" in rest


def test_options_named_in_the_text_exist():
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    code = [each for each in re.findall(r"`([^`]+)`", prose) if not each.startswith(("ray ", "kubectl "))]
    elsewhere = {"--exclusive"}  # of Slurm
    known = set().union(*map(options_of, COMMANDS)) | elsewhere
    named = {option for each in code for option in OPTION.findall(each)}
    assert {"--engine", "--ray-address", "--features", "--scale"} <= named <= known
    for name, rest in re.findall(r"`tasksift (\w+) ([^`]*)`", prose):
        assert set(OPTION.findall(rest)) <= options_of(name), rest


def test_options_of_ray_exist():
    scripts = pytest.importorskip("ray.scripts.scripts")
    known = {option for parameter in scripts.start.params for option in parameter.opts}
    lines = re.findall(r"\bray start (.*)$", "\n".join(blocks("bash")), flags=re.MULTILINE)
    named = {option for line in lines for option in OPTION.findall(line)}
    assert {"--head", "--address", "--block"} <= named <= known


def test_the_job_is_one_of_kuberay():
    found = job()
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    spec = found["spec"]
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode"}
    cluster = spec["rayClusterSpec"]
    (worker,) = cluster["workerGroupSpecs"]
    assert worker["minReplicas"] == worker["replicas"] == worker["maxReplicas"]
    containers = []
    for group in (cluster["headGroupSpec"], worker):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        containers.append(container)
    head, node = containers
    assert (head["image"], head["envFrom"]) == (node["image"], node["envFrom"])
    assert node["resources"]["limits"]["nvidia.com/gpu"] == 1
    (image,) = blocks("dockerfile")
    assert f"rayproject/ray:{cluster['rayVersion']}-" in image


def test_the_report_has_the_keys_that_the_engine_writes():
    (text,) = blocks("json")
    found = json.loads(text)
    assert list(found) == ["name", "cores", "gpus", "workers", "total", "retried", "spilled_bytes"]
    for key, total in found["total"].items():
        assert total == pytest.approx(sum(worker.get(key, 0) for worker in found["workers"].values()))


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("At most {} parts for each core", engine.AHEAD),
        ("take {} MiB of the cluster's", engine.IN_FLIGHT_BYTES // 2**20),
        ("that the run starts has {} GiB", STORE_BYTES // 2**30),
        ("failed {} times, the last time", ATTEMPTS),
        ("tasks: {} MiB of a `.jsonl`", SLICE_BYTES // 2**20),
        ("one shard of vectors ({} MB at most)", round(SHARD_BYTES / 2**20)),
    ],
)
def test_figures_are_those_of_the_code(words, value):
    assert words.format(value) in " ".join(TEXT.split())


def test_links_lead_to_pages():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert "storage.md" in links
    for link in links:
        assert link.startswith("https://") or (PAGE.parent / link).is_file(), link


@pytest.mark.parametrize("page", ["guide.md", "limitations.md", "reproducibility.md", "../README.md"])
def test_other_pages_lead_here(page):
    assert "cluster.md)" in (PAGE.parent / page).read_text(encoding="utf-8")
