"""docker-compose.yml, checked against the Compose schema and against our own code: no container is needed for that."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import typer.main
import yaml
from dotenv import dotenv_values

from cli.main import app
from orderflow.gateways.simulator.__main__ import _arguments as simulator_arguments
from orderflow.postgres import roles as database_roles
from orderflow.settings import Settings
from support.paths import ROOT
from workers.roles import ROLES

SOURCE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


ASKED = re.compile(r"\$\{([A-Z_]+):\?([^}]*)\}")


def interpolated(text: str) -> str:
    """What Compose makes of ``${NAME:-default}`` and ``$$``, and of ``${NAME:?…}`` with a word for each password."""
    text = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)
    text = ASKED.sub(lambda found: f"{found[1].lower().replace('_', '-')}-1", text)
    assert "${" not in text, "every variable has a default, or must be given"
    return text.replace("$$", "$")


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(SOURCE))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)


def environment(service: str) -> dict[str, str]:
    given: dict[str, str] = SERVICES[service].get("environment", {})
    return given


def settings(service: str) -> Settings:
    """The settings as the process of ``service`` reads them."""
    values = {name.removeprefix("ORDERFLOW_").lower(): value for name, value in environment(service).items()}
    assert values.keys() <= Settings.model_fields.keys()
    return Settings.model_validate(values)


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The real command line's reading of ``arguments``: the command's name and what its function would be given."""
    calls: list[tuple[str, dict[str, Any]]] = []
    root = typer.main.get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        command.callback = lambda _name=name, **given: calls.append((_name, given))
    root.main(arguments, prog_name="orderflow", standalone_mode=False)
    [call] = calls
    return call


def test_the_file_is_valid_by_the_compose_schema() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(SOURCE))


def test_all_processes_are_there() -> None:
    workers = {"worker-orders", "worker-payments", "worker-inventory", "relay", "tracking", "reconciliation"}
    assert set(OURS) == {"setup", "api", "codec", "gateway", "keys"} | workers


def test_every_command_of_ours_parses() -> None:
    for service in OURS:
        words: list[str] = [*SERVICES[service].get("entrypoint", []), *SERVICES[service]["command"]]
        program, *arguments = words
        if program == "orderflow":
            name, given = parsed(arguments)
            assert name in ("setup", "api", "worker", "codec", "keys"), service
            assert set(given.get("roles", [])) <= set(ROLES), service
        else:
            assert [program, *arguments[:2]] == ["python", "-m", "orderflow.gateways.simulator"], service
            assert simulator_arguments(arguments[2:]).host == "0.0.0.0"  # noqa: S104


def test_a_misspelt_command_would_be_found() -> None:
    with pytest.raises(Exception, match="wurker"):
        parsed(["wurker", "orders"])


def test_every_setting_fits_its_type() -> None:
    for service in OURS:
        settings(service)


def test_a_process_gets_only_the_databases_it_works_on() -> None:
    """Each in a role of its own, so that none can do another's work; setup makes all of them."""
    everything = {(database, role) for database, roles in database_roles.ROLES.items() for role in roles}
    passwords: dict[str, str] = {}
    for service in OURS:
        opened = database_roles.OPENED_BY.get(service.removeprefix("worker-"), ())
        if service == "keys":
            opened = (("orders", "keys"),)
        expected = everything if service == "setup" else set(opened)
        given = {name for name in environment(service) if name.endswith("_DATABASE_URL")}
        assert given == {f"ORDERFLOW_{database}_{role}_DATABASE_URL".upper() for database, role in expected}, service
        for database, role in expected:
            url = urlsplit(settings(service).database_url(database, role))
            assert (url.username, url.path) == (f"{database}_{role}", f"/{database}"), service
            assert passwords.setdefault(url.username or "", url.password or "") == url.password
        assert any(name.endswith("_ADMIN_URL") for name in environment(service)) == (service == "setup"), service
    assert len(set(passwords.values())) == len(everything), "a password is one role's"


def test_no_password_has_a_default() -> None:
    passwords = set(re.findall(r"\$\{([A-Z_]*PASSWORD)", SOURCE))
    assert passwords
    assert passwords == {name for name, _ in ASKED.findall(SOURCE)}
    assert {said for _, said in ASKED.findall(SOURCE)} == {"run `make secrets` first"}
    assert re.findall(r"(?:PASSWORD|PWD): (?!\$\{)\S+", SOURCE) == []


def secrets(target: Path) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "tools" / "compose_secrets.py")
    return subprocess.run([sys.executable, "-I", script, str(target)], capture_output=True, text=True, timeout=60)


def test_the_secrets_are_random_and_for_their_owner_and_stay(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    assert secrets(target).returncode == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    made = dotenv_values(target)
    assert made.keys() == {name for name, _ in ASKED.findall(SOURCE)}
    values = {value or "" for value in made.values()}
    assert len(values) == len(made), "a password is one role's"
    # They become parts of URLs.
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", value) for value in values)
    before = target.read_bytes()
    assert "all passwords are there" in secrets(target).stdout
    assert target.read_bytes() == before


def test_what_stands_in_the_file_of_secrets_stays(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    target.write_text("ORDERFLOW_LOG_LEVEL=debug\nPOSTGRES_PASSWORD=mine")
    target.chmod(0o644)
    assert secrets(target).returncode == 0
    assert target.read_text().startswith("ORDERFLOW_LOG_LEVEL=debug\nPOSTGRES_PASSWORD=mine\n#")
    assert dotenv_values(target)["POSTGRES_PASSWORD"] == "mine"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("empty", ["", " ", '""', "''", "  # later", '"" # later'])
def test_what_is_empty_is_made_and_what_stands_behind_it_stays(tmp_path: Path, empty: str) -> None:
    target = tmp_path / ".env"
    target.write_text(f"GRAFANA_PASSWORD={empty}\nPOSTGRES_PASSWORD=mine\n")
    assert secrets(target).returncode == 0
    assert target.read_text().count("POSTGRES_PASSWORD=mine\n") == 1
    assert re.findall(r"^POSTGRES_PASSWORD=", target.read_text(), re.MULTILINE) == ["POSTGRES_PASSWORD="]
    made = dotenv_values(target)
    assert made["POSTGRES_PASSWORD"] == "mine"
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", made["GRAFANA_PASSWORD"] or "")
    assert "all passwords are there" in secrets(target).stdout


def test_a_pipe_is_no_file_of_secrets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    said = secrets(tmp_path / ".env")
    assert (said.returncode, said.stderr) == (1, f"{tmp_path / '.env'}: it is no regular file\n")


def test_secrets_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    said = secrets(tmp_path / ".env")
    assert (said.returncode, "it is a link" in said.stderr) == (1, True)
    assert not (tmp_path / "elsewhere").exists()


def test_who_calls_must_have_a_key() -> None:
    assert settings("api").api_authentication == "on"
    assert settings("codec").codec_authentication == "bearer"
    assert environment("temporal-ui")["TEMPORAL_CODEC_ENDPOINT"] == f"http://localhost:{settings('codec').codec_port}"
    assert settings("codec").temporal_ui_url == environment("temporal-ui")["TEMPORAL_CORS_ORIGINS"]


def test_the_keyring_is_made_by_setup_and_read_by_who_seals() -> None:
    """Everybody who starts, carries out or looks at workflows, and nobody else."""
    volumes = {name: SERVICES[name].get("volumes", []) for name in OURS}
    keyring = {
        name: mount.split(":")[2:]
        for name, mounts in volumes.items()
        for mount in mounts
        if mount.startswith("keyring:")
    }
    readers = {"api", "codec", "reconciliation", "worker-orders", "worker-payments", "worker-inventory"}
    assert keyring == {"setup": []} | {name: ["ro"] for name in readers}
    for name in OURS:
        assert (settings(name).payload_keyring_file is not None) == (name in keyring), name


def test_all_roles_together_fit_into_the_server() -> None:
    """What is left is for people: 10 at least."""
    known = settings("setup")
    limits = [database_roles.limits(role, known) for roles in database_roles.ROLES.values() for role in roles]
    [most] = [part for part in SERVICES["postgres"]["command"] if part.startswith("max_connections=")]
    assert sum(one.connections for one in limits) + 10 <= int(most.partition("=")[2])


def test_every_address_in_the_settings_is_another_service() -> None:
    ports = {"postgres": 5432, "temporal": 7233, "kafka": 19092, "gateway": 8090}
    others = ("ORDERFLOW_TEMPORAL_ADDRESS", "ORDERFLOW_KAFKA_BOOTSTRAP_SERVERS")
    for service in OURS:
        given = environment(service)
        urls = [name for name in given if name.endswith(("_DATABASE_URL", "_ADMIN_URL", "_GATEWAY_URL"))]
        addresses = [urlsplit(given[name]) for name in urls]
        addresses += [urlsplit(f"//{given[name]}") for name in others if name in given]
        wrong = [(a.hostname, a.port) for a in addresses if ports.get(a.hostname or "") != a.port]
        assert wrong == [], service


def test_health_is_asked_where_the_process_answers() -> None:
    for service in set(OURS) - {"setup", "gateway", "keys"}:
        known = settings(service)
        port = known.codec_port if service == "codec" else known.health_port
        path = "live" if service == "codec" else "ready"
        assert f"http://127.0.0.1:{port}/health/{path}" in SERVICES[service]["healthcheck"]["test"][-1], service


def test_every_service_is_checked_or_ends_by_itself() -> None:
    one_shot = {
        name
        for service in SERVICES.values()
        for name, needs in service.get("depends_on", {}).items()
        if needs["condition"] == "service_completed_successfully"
    }
    assert one_shot == {"setup", "temporal-schema", "temporal-namespace"}
    by_hand = {name for name, service in SERVICES.items() if "profiles" in service}
    assert by_hand == {"keys"}
    unchecked = {name for name, service in SERVICES.items() if "healthcheck" not in service} - one_shot - by_hand
    assert unchecked == {"temporal-ui"}
    assert {SERVICES[name]["restart"] for name in one_shot} == {"on-failure:5"}
    assert {SERVICES[name]["restart"] for name in by_hand} == {"no"}
    assert {SERVICES[name]["restart"] for name in SERVICES.keys() - one_shot - by_hand} == {"unless-stopped"}


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    published = [port.split(":")[1] for port in ports]
    assert len(published) == len(set(published))


def test_every_image_of_others_is_pinned() -> None:
    images = {service["image"] for name, service in SERVICES.items() if name not in OURS}
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_temporal_and_its_tools_have_the_same_version() -> None:
    versions = {SERVICES[name]["image"].split(":")[1] for name in ("temporal", "temporal-schema", "temporal-namespace")}
    assert len(versions) == 1


def test_every_mounted_file_is_there_and_every_volume_is_declared() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert named == set(COMPOSE["volumes"])
    scripts = [ROOT / file for file in files if file.endswith(".sh")]
    assert [script for script in scripts if not script.stat().st_mode & stat.S_IXUSR] == []


def test_what_others_mount_of_ours_they_cannot_change() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith(".")]
    assert [mount for mount in mounts if not mount.endswith(":ro")] == []


def test_prometheus_scrapes_every_process_where_it_serves_its_metrics() -> None:
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    ours = jobs["orderflow"]
    [found] = ours["dns_sd_configs"]
    fixed = [target for group in ours["static_configs"] for target in group["targets"]]
    targets = [*fixed, *(f"{name}:{found['port']}" for name in found["names"])]
    serving = {name: settings(name) for name in OURS if name not in ("setup", "gateway", "codec", "keys")}
    assert sorted(targets) == sorted(f"{name}:{known.health_port}" for name, known in serving.items())
    # From another container 127.0.0.1 is another machine.
    for name, known in serving.items():
        host = known.health_host
        assert host == "0.0.0.0", f"{name} serves its metrics on {host} alone"  # noqa: S104
    [gateway] = jobs["gateway-simulator"]["static_configs"]
    arguments = SERVICES["gateway"]["command"]
    assert gateway["targets"] == [f"gateway:{arguments[arguments.index('--port') + 1]}"]
    assert PROMETHEUS["rule_files"] == ["rules.yml"]


def test_promtool_takes_the_scrape_configuration(promtool: str) -> None:
    file = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    said = subprocess.run([promtool, "check", "config", str(file)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_worker_has_longer_to_stop_than_its_running_steps_may_take() -> None:
    grace = Settings.model_fields["worker_graceful_shutdown_seconds"].default
    for service in ("worker-orders", "worker-payments", "worker-inventory"):
        assert int(SERVICES[service]["stop_grace_period"].removesuffix("s")) > grace
