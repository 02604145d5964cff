"""Settings: read once, in main(), from the environment; frozen, and passed down.

Every field is the variable `WARRENER_<FIELD>`, or the content of the file that `WARRENER_<FIELD>_FILE` names. Nothing
else in the library reads the environment.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warrener.errors import InvalidSettings
from warrener.ids import is_name
from warrener.retries import PositiveDuration
from warrener.setting_files import SUFFIX, read_setting_files

_PREFIX = "WARRENER_"
_OTHER_VARIABLES = frozenset(
    f"{_PREFIX}{name}" for name in ("CRASH_AT", "RUN", "TASK", "ATTEMPT", "OUTPUT", "SIMULATIONS")
)
"""Variables of ours that are no settings: for tests, for logs, and what a job finds in its environment."""


def _host() -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", platform.node().lower()).strip("-")[:40]
    return name or "localhost"


class Settings(BaseSettings):
    """What a program is told from outside."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    state: Path = Field(default_factory=lambda: Path.home() / ".local/state/warrener")
    """The folder of everything that this deployment keeps on this host, unless told otherwise below."""
    broker: str = "memory://"
    """`amqp://user:password@host:port/vhost`, or `memory://` within one process.

    A cluster: `amqp://user:password@one,two,three/vhost?queues=quorum`.
    """
    store: str = ""
    """`postgresql://user:password@host:port/database` or `sqlite:///path`; empty: `<state>/warrener.db`."""
    gossip: str = "static://"
    """`serf://[key@]host:port`: the RPC address of a Serf agent beside this program; `static://`: no gossip.

    `agent:///folder`: the agent that `warrener serve agent` runs on this host; it logs its folder.
    """
    agent: str = ""
    """`address[:port]` (port 7946): run a Serf agent within this program, which gossips there.

    It takes the place of `WARRENER_GOSSIP`. An address of this host, a name of it, or `0.0.0.0`.
    """
    agent_advertise: str = ""
    """`address[:port]` that other hosts reach the agent at, where it differs (NAT, several networks)."""
    agent_profile: Literal["lan", "wan", "local"] = "lan"
    """How patient Serf is: `lan` finds a failed host in about 7 s, `wan` in 30 s and more, and gossips less."""
    seeds: Annotated[tuple[str, ...], NoDecode] = ()
    """`host[:port]`, separated by commas: members that the agent joins; two or three are enough for any pool."""
    join: str = ""
    """`host[:port]` of a member: broker, store and gateway, where not set, are then asked of gossip.

    It also runs an agent, as `WARRENER_AGENT` does (default `0.0.0.0`), with this member as a seed.
    """
    broker_login: str = ""
    """`user:password` for the broker that gossip names."""
    store_login: str = ""
    """`user:password` for the database that gossip names."""
    gossip_key: Path | None = None
    """The file of the key that encrypts gossip, the same on every host; default `<keys>/gossip.key`."""
    keys: Path | None = None
    """The folder of the deployment's keys; default `<state>/keys`."""
    listen: str = ""
    """Where the gateway listens: `unix:/path` (default `<state>/gateway.sock`) or `http://host:port`."""
    gateway: str = ""
    """Where clients find the gateway; default: where it listens."""
    token: str = ""
    """The bearer token of the gateway; TCP is refused without one."""
    trust_network: bool = False
    """Whether `listen` may be an address that others than this host reach, where the token travels in the clear.

    Only for a network of containers, or behind a proxy with TLS.
    """
    health: str = ""
    """Where a program tells of its health: `unix:/path`, `http://host:port`, or `off`.

    Default: the socket `<state>/health/<name>.sock`. It shows no secret, and needs no token.
    """
    site: str = "local"
    """The name of the place whose file system this worker shares."""
    site_root: Path | None = None
    """The site's folder on this host; default `<state>/site`."""
    stage_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders, separated by colons, outside the site that `file:` sources and destinations may lie in.

    Default: the current folder.
    """
    stage_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts (`host` or `host:port`), separated by commas, with private addresses that staging may fetch from."""
    env_builder: Literal["auto", "uv", "pip"] = "auto"
    """What builds environments; `auto`: uv if it is there, otherwise `python -m venv` and pip, which is slower."""
    secrets: Path | None = None
    """The folder of secrets, a file each; `secret://name` reads it at launch. Default `<state>/secrets`."""
    worker: str = ""
    """This worker's name; default `<kind>-<host>`. Two live workers must not share one."""
    software: Annotated[tuple[str, ...], NoDecode] = (
        "apptainer", "docker", "gcc", "git", "mpirun", "nvidia-smi", "podman", "python3", "R", "sbatch", "ssh",
    )  # fmt: skip
    """Programs, separated by commas, looked for on a worker's PATH; `warrener workers NAME` shows what it has."""
    labels: Annotated[tuple[str, ...], NoDecode] = ()
    """What else a worker's host has, separated by commas: `ssd`, `rack=a3`."""
    host: str = Field(default_factory=_host)
    """This host's name, as shown to people."""
    slots: int = Field(default_factory=lambda: max(2, os.cpu_count() or 2), ge=1, le=100_000)
    """What a worker takes at a time. More: better use of idle waiting; too many: the host swaps."""
    honour_load: bool = True
    """Whether a worker keeps slots empty while its host is busy with other things, or short of memory."""
    load_from: float = Field(default=3.0, ge=0.5, le=1000)
    """From how many runnable threads per core, besides its own tasks, a worker keeps slots empty.

    Smaller: kinder to what else runs there; too small: it yields to the broker and the database beside it.
    """
    load_full: float = Field(default=8.0, ge=0.5, le=1000)
    """At how many runnable threads per core, besides its own tasks, a worker begins nothing more."""
    memory_from: float = Field(default=0.08, ge=0, le=1)
    """Below which share of free memory (of at most 32 GiB) a worker keeps slots empty; 0: never."""
    memory_full: float = Field(default=0.03, ge=0, le=1)
    """Below which share of free memory (of at most 32 GiB) a worker begins nothing more."""
    shards: int = Field(default=64, ge=1, le=1024)
    """Fixed when the deployment is made. More: finer spreading over schedulers, more queues."""
    backlog: int = Field(default=20_000, ge=1)
    """How many runs may be accepted and not yet taken up by a scheduler; beyond, the gateway answers 429.

    More: longer outages of schedulers are bridged, and whoever comes last waits longer.
    """
    lease: PositiveDuration = timedelta(seconds=30)
    """The default lease. Longer: outlives longer outages; the work of a dead worker waits as long."""
    order_timeout: PositiveDuration = timedelta(seconds=60)
    """How long an order may lie unclaimed before it is released anew."""
    shard_lease: PositiveDuration = timedelta(seconds=6)
    """How long a silent scheduler keeps its shards. Longer: outlives longer pauses; its runs wait as long."""
    elastic: Path | None = None
    """The file of rules by which `warrener serve elastic` starts and stops workers."""
    keep_runs: PositiveDuration | None = None
    """How long finished runs stay in the store, with their keys; unset: for ever. Longer: a larger database."""
    old_runs: Literal["archive", "purge"] = "archive"
    """What becomes of finished runs after that: into files of the archive, or away."""
    archive: Path | None = None
    """The folder of the archive, on each scheduler's host; default `<state>/archive`."""
    keep_evidence: PositiveDuration = timedelta(days=90)
    """How long parked messages are kept, and reports that were not applied."""
    mail_servers: Annotated[tuple[str, ...], NoDecode] = ()
    """Who takes the mails of alerts, separated by commas, tried in turn: `smtp://user@host:587` (STARTTLS) or
    `smtps://user@host:465` (TLS from the beginning); `plain://127.0.0.1:25` for a relay on this host."""
    mail_secret: Path | None = None
    """The file with the password for the mail servers; only its owner may be able to read it."""
    mail_ca: Path | None = None
    """The certificates, in PEM, of whom the mail servers' and the webhooks' certificates may come; default: the
    system's."""
    mail_from: str = ""
    """From whom the mails of alerts are; default `warrener@<host>`."""
    mail_to: Annotated[tuple[str, ...], NoDecode] = ()
    """Who is told, separated by commas: of everything, or with WARRENER_ALERT_ROUTES of what no route takes."""
    webhook: str = ""
    """Where alerts are also posted as JSON: `https://…`; told of the same as WARRENER_MAIL_TO."""
    webhook_secret: Path | None = None
    """The file with the key that signs what is posted to webhooks; only its owner may be able to read it."""
    alert_routes: Path | None = None
    """The YAML file that says who is told of what, and when not: [Alerts](alerts.md)."""
    alert_window: PositiveDuration = timedelta(minutes=5)
    """How long alerts are gathered into one mail after a first one. Longer: fewer mails, which tell later."""
    alert_backlog: int = Field(default=50_000, ge=1)
    """How many tasks may be ready, and runs wait to be taken up, before it is alerted."""
    alert_stuck: PositiveDuration = timedelta(days=1)
    """How long nothing may happen to any task of a run before it is alerted."""
    log: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on a program logs, on its standard error."""
    stop_timeout: PositiveDuration = timedelta(seconds=20)
    """How long a program may take to stop after SIGTERM."""

    @field_validator(
        "stage_roots", "stage_hosts", "seeds", "software", "labels", "mail_servers", "mail_to", mode="before"
    )
    @classmethod
    def _listed(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        separator = os.pathsep if info.field_name == "stage_roots" else ","
        return tuple(part.strip() for part in value.split(separator) if part.strip())

    @field_validator("worker", "site")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if value and not is_name(value):
            raise ValueError("a name has 1 to 64 of a-z, 0-9 and -, and begins and ends without -")
        return value

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Read the environment and the files that it names; `given` values win.

        Raises InvalidSettings, naming each variable.
        """
        cls._refuse_unknown(os.environ)
        variables = {f"{_PREFIX}{name.upper()}": name for name in cls.model_fields if name not in given}
        files: dict[str, Any] = {
            variables[name]: text for name, text in read_setting_files(os.environ, variables).items()
        }
        try:
            return cls(**files, **given)
        except ValidationError as error:
            problems = [
                f"WARRENER_{field.upper()}{SUFFIX if field in files else ''}: {problem['msg']}"
                for problem in error.errors(include_url=False)
                for field in [str(problem["loc"][0]) if problem["loc"] else ""]
            ]
            raise InvalidSettings("\n".join(problems)) from error

    @classmethod
    def _refuse_unknown(cls, environ: Mapping[str, str]) -> None:
        """Raise InvalidSettings for variables that look like ours and are none: a misspelt one must not be ignored."""
        settings = {f"{_PREFIX}{name.upper()}" for name in cls.model_fields}
        known = settings | {name + SUFFIX for name in settings} | _OTHER_VARIABLES
        unknown = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
        if unknown:
            near = [difflib.get_close_matches(name, known, n=1) for name in unknown]
            raise InvalidSettings(
                "\n".join(
                    f"{name}: there is no such setting" + (f"; did you mean {match[0]}?" if match else "")
                    for name, match in zip(unknown, near, strict=True)
                )
            )

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.state / 'warrener.db'}"

    @property
    def keys_folder(self) -> Path:
        return self.keys or self.state / "keys"

    @property
    def gossip_key_file(self) -> Path:
        return self.gossip_key or self.keys_folder / "gossip.key"

    @property
    def agent_folder(self) -> Path:
        return self.state / "agent"

    @property
    def site_folder(self) -> Path:
        return self.site_root or self.state / "site"

    @property
    def secrets_folder(self) -> Path:
        return self.secrets or self.state / "secrets"

    @property
    def archive_folder(self) -> Path:
        return self.archive or self.state / "archive"

    @property
    def listen_url(self) -> str:
        return self.listen or f"unix:{self.state / 'gateway.sock'}"

    @property
    def health_folder(self) -> Path:
        return self.state / "health"

    @property
    def gateway_url(self) -> str:
        return self.gateway or self.listen_url
