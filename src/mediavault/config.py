"""The configuration: frozen, read once, from flags before the environment before defaults. Unknown names are refused.

Each room declares its own small config dataclass; this module only fills them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mediavault.catalog.database import CatalogConfig, sqlite_path
from mediavault.data_folder import parse_master_key
from mediavault.edge.cache import EdgeConfig
from mediavault.errors import ConfigError
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.origin.pacing import PaceConfig
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.filling import FillConfig

PREFIX = "MEDIAVAULT_"


class Role(StrEnum):
    """Which part of the vault a process is."""

    ALL = "all"
    API = "api"
    MEDIA = "media"
    STORER = "storer"


@dataclass(frozen=True)
class Config:
    """Everything a process must know to start."""

    data: Path
    role: Role = Role.ALL
    host: str = "127.0.0.1"
    api_port: int = 8080  #: 0 picks a free one
    media_port: int = 8081
    media_base_url: str | None = None  #: how viewers reach the media host; the media port's own address unless given
    upstream_url: str | None = None  #: for connections that name no upstream
    master_key: bytes | None = None  #: from the data folder unless given
    bootstrap_api_key: str | None = None  #: at the first start only
    blobs: Path = Path()
    drain_seconds: float = 20  #: after SIGTERM
    catalog: CatalogConfig = field(default_factory=lambda: CatalogConfig(""))
    client: ClientConfig = field(default_factory=ClientConfig)
    pace: PaceConfig = field(default_factory=PaceConfig)
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    fill: FillConfig = field(default_factory=FillConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) > 65_535:
        raise ValueError("a port is 0 to 65535")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError("a number of bytes")
    return int(text)


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an http or https URL without a query")
    return text.rstrip("/")


def _blobs_path(text: str) -> Path:
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise ValueError("file:///absolute/path (S3 comes later)")
    return Path(parts.path)


#: Every variable there is: its name without the prefix, the field it fills, and how it is read.
VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "DATA": ("data", Path),
    "ROLE": ("role", Role),
    "HOST": ("host", str),
    "API_PORT": ("api_port", _port),
    "MEDIA_PORT": ("media_port", _port),
    "DATABASE_URL": ("database_url", str),
    "BLOBS_URL": ("blobs", _blobs_path),
    "MEDIA_BASE_URL": ("media_base_url", _base_url),
    "UPSTREAM_URL": ("upstream_url", _base_url),
    "MASTER_KEY": ("master_key", parse_master_key),
    "ORIGIN_ALLOW": ("origin_allow", AllowList.parse),
    "BOOTSTRAP_API_KEY": ("bootstrap_api_key", str),
    "EDGE_CAPACITY_BYTES": ("edge_capacity_bytes", _bytes),
    "FREE_FLOOR_BYTES": ("free_floor_bytes", _bytes),
    "DRAIN_SECONDS": ("drain_seconds", float),
}

#: Secrets may also lie in a file named by the variable with this suffix.
_SECRETS = ("MASTER_KEY", "BOOTSTRAP_API_KEY", "DATABASE_URL")


def read_config(environment: Mapping[str, str], **flags: Any) -> Config:
    """The configuration; a flag that is None was not given. Raises ConfigError, which names what is wrong."""
    values = _from_environment(environment) | {name: value for name, value in flags.items() if value is not None}
    data = Path(values.pop("data", "mediavault-data")).absolute()
    database_url = values.pop("database_url", None) or f"sqlite:///{data / 'catalog.sqlite'}"
    allow = values.pop("origin_allow", AllowList())
    edge = EdgeConfig(
        capacity_bytes=values.pop("edge_capacity_bytes", EdgeConfig.capacity_bytes),
        free_floor_bytes=values.pop("free_floor_bytes", EdgeConfig.free_floor_bytes),
    )
    config = Config(
        data=data,
        blobs=values.pop("blobs", data / "blobs"),
        catalog=CatalogConfig(database_url),
        client=ClientConfig(allow=allow),
        edge=edge,
        store=StoreConfig(free_floor_bytes=edge.free_floor_bytes),
        **values,
    )
    _check(config)
    return replace(config, role=Role(config.role))


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in _texts(environment).items():
        name, read = VARIABLES[variable]
        try:
            values[name] = read(text)
        except ValueError as error:
            raise ConfigError(f"{PREFIX}{variable} is not usable: {error}") from None
    return values


def _texts(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set, secrets from their files."""
    texts: dict[str, str] = {}
    for full_name, text in environment.items():
        name = full_name.removeprefix(PREFIX)
        if name == full_name or name.startswith("TEST_"):
            continue
        secret = name.removesuffix("_FILE")
        if name in VARIABLES:
            texts[name] = text
        elif secret in _SECRETS:
            try:
                texts[secret] = Path(text).read_text().strip()
            except OSError as error:
                raise ConfigError(f"{full_name}: {error.strerror}: {text}") from None
        else:
            known = ", ".join(PREFIX + variable for variable in VARIABLES)
            raise ConfigError(f"{full_name} is no setting of mediavault; there are {known}")
    return texts


def _check(config: Config) -> None:
    """What cannot work is refused at the start, not at the first request."""
    if config.host not in {"127.0.0.1", "::1", "localhost"} and config.media_base_url is None:
        raise ConfigError(
            f"--host {config.host} needs MEDIAVAULT_MEDIA_BASE_URL: viewers must be told an address they can reach"
        )
    if config.role != Role.ALL:
        if sqlite_path(config.catalog.url) is not None:
            raise ConfigError(f"--role {config.role} needs PostgreSQL: SQLite is for one process (--role all)")
        if config.media_base_url is None:
            raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MEDIA_BASE_URL")
        if config.master_key is None:
            raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MASTER_KEY, the same for every process")
    elif config.bootstrap_api_key is not None and len(config.bootstrap_api_key) < 16:
        raise ConfigError("MEDIAVAULT_BOOTSTRAP_API_KEY must have at least 16 characters")
