"""No engine runs here: the files are held against what their formats allow, and against each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from typing import Any

import jsonschema
import pytest
import yaml

from tests.compose import schemas
from tests.docs.pages import ROOT

COMPOSE = ROOT / "compose"
COLLECTOR = ROOT / "collector"
DASHBOARDS = sorted((COMPOSE / "grafana" / "dashboards").glob("*.json"))
PROVISIONING = COMPOSE / "grafana" / "provisioning"

pytestmark = pytest.mark.skipif(not COMPOSE.is_dir(), reason="compose/ is in the checkout alone")


def read(*parts: str) -> Any:
    return yaml.safe_load(COMPOSE.joinpath(*parts).read_text(encoding="utf-8"))


def services() -> dict[str, Any]:
    return read("compose.yaml")["services"]


def test_the_services_are_well_formed() -> None:
    """The file has the shape of the Compose specification, as far as it uses it, and refers to what there is."""
    document = read("compose.yaml")
    jsonschema.validate(document, schemas.COMPOSE)
    for name, service in document["services"].items():
        assert set(service.get("depends_on", ())) <= set(document["services"]) - {name}
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if not source.startswith("."):
                assert source in document["volumes"]
            elif source.startswith("../collector/") and not COLLECTOR.is_dir():
                continue
            else:
                assert (COMPOSE / source).exists(), volume
        for condition, other in (
            (rule["condition"], document["services"][other])
            for other, rule in service.get("depends_on", {}).items()
        ):
            assert ("healthcheck" in other) or condition != "service_healthy"
            assert ("restart" in other) == (condition != "service_completed_successfully")


def test_nothing_listens_beyond_the_machine() -> None:
    """Each published port is bound to the loopback address, and can be moved."""
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) >= 5
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port)] == []


def test_each_variable_is_in_the_example() -> None:
    """Whoever copies `example.env` sees all that can be set; passwords have no default."""
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    example = (COMPOSE / "example.env").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert used == set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    secrets = {name for name in used if name.endswith(("PASSWORD", "TOKEN"))}
    assert secrets == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))
    assert secrets == set(re.findall(r"\$\{([A-Z_]+):\?", text))


def test_the_collector_gets_what_its_configuration_asks_for() -> None:
    """Variables are those that `collector/agent.yaml` reads, and what is laid over it refers to what is there."""
    if not COLLECTOR.is_dir():
        pytest.skip("collector/ is not in this checkout")
    text = (COLLECTOR / "agent.yaml").read_text(encoding="utf-8")
    agent, over = yaml.safe_load(text), read("collector-jaeger.yaml")
    assert set(services()["collector"]["environment"]) <= set(re.findall(r"\$\{env:([A-Z_]+)", text))
    exporters = {**agent["exporters"], **over["exporters"]}
    wanted = over["service"]["pipelines"]["traces"]["exporters"]
    assert set(agent["service"]["pipelines"]["traces"]["exporters"]) < set(wanted) <= set(exporters)


def test_the_image_has_what_the_package_is_built_of(tmp_path: Any) -> None:
    """A wheel can be built from the files that the Dockerfile copies, and brings the SQL."""
    lines = (COMPOSE / "Dockerfile").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                place = tmp_path / "src" / (source if target == "./" else target)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                place.parent.mkdir(exist_ok=True)
                copy(ROOT / source, place)  # type: ignore[operator]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path / "out",
    ]
    subprocess.run([*command, tmp_path / "src"], check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").iterdir()
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    assert any((tmp_path / "wheel" / "pipespan" / "_sql" / "migrations").iterdir())


def test_what_grafana_provisions_is_well_formed() -> None:
    """Datasources and dashboards are where they are mounted, under the names that dashboards use."""
    datasources = read("grafana", "provisioning", "datasources", "pipespan.yaml")
    providers = read("grafana", "provisioning", "dashboards", "pipespan.yaml")
    jsonschema.validate(datasources, schemas.DATASOURCES)
    jsonschema.validate(providers, schemas.PROVIDERS)
    assert {one["uid"] for one in datasources["datasources"]} == {"pipespan", "jaeger"}
    grafana = services()["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounts["./grafana/dashboards"] == providers["providers"][0]["options"]["path"]
    for one in datasources["datasources"]:
        host = one["url"].removeprefix("http://").partition(":")[0]
        assert host in services()
        for value in one.get("secureJsonData", {}).values():
            assert value.removeprefix("$") in grafana["environment"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (COMPOSE / "grafana" / "dashboards" / home.rpartition("/")[2]).is_file()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_dashboard_is_well_formed(path: Any) -> None:
    """Panels have ids of their own, do not overlap, and link to dashboards and variables that exist."""
    text = path.read_text(encoding="utf-8")
    dashboard = json.loads(text)
    jsonschema.validate(dashboard, schemas.DASHBOARD)
    assert dashboard["uid"] == f"pipespan-{path.stem}"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [pair for pair in combinations([panel["gridPos"] for panel in panels], 2) if _overlap(*pair)] == []
    others = {json.loads(one.read_text(encoding="utf-8"))["uid"]: one for one in DASHBOARDS}
    for uid, variables in re.findall(r"/d/([\w-]+)\?([^\"]*)", text):
        known = {
            one["name"] for one in json.loads(others[uid].read_text(encoding="utf-8"))["templating"]["list"]
        }
        assert set(re.findall(r"var-(\w+)=", variables)) <= known


def test_there_is_a_dashboard_for_each_question() -> None:
    """Experiments, their tree, logs, resources and errors."""
    assert [path.stem for path in DASHBOARDS] == ["errors", "experiments", "logs", "resources", "tree"]


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)
