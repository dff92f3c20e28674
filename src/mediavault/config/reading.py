"""Reading the configuration: flags before the environment before defaults. Unknown names are refused."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mediavault.catalog.database import CatalogConfig, sqlite_path
from mediavault.config.fills import fill, remint
from mediavault.config.limits import doors, limits, patience
from mediavault.config.settings import Config, Role
from mediavault.config.storage import read_storage
from mediavault.config.texts import read_host, read_role
from mediavault.config.thumbnails import read_thumbnails
from mediavault.config.variables import PREFIX, VARIABLES
from mediavault.domain.list_sync import Brake
from mediavault.domain.times import SECOND
from mediavault.edge.cache import EdgeConfig
from mediavault.errors import ConfigError
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.storer.scrub import ScrubConfig
from mediavault.storer.store_variant import StoreConfig
from mediavault.vault.fills.turns import TurnConfig
from mediavault.vault.syncing import ListConfig

#: The test suite's own variables begin so; they are no settings.
_OF_TESTS = PREFIX + "TEST_"


def read_config(environment: Mapping[str, str], **flags: Any) -> Config:
    """The configuration; a flag that is None was not given. Raises ConfigError, which names what is wrong."""
    values = _from_environment(environment) | {name: value for name, value in flags.items() if value is not None}
    data = Path(values.pop("data", "mediavault-data")).absolute()
    database_url = values.pop("database_url", None) or f"sqlite:///{data / 'catalog.sqlite'}"
    edge = EdgeConfig(
        capacity_bytes=values.pop("edge_capacity_bytes", EdgeConfig.capacity_bytes),
        free_floor_bytes=values.pop("free_floor_bytes", EdgeConfig.free_floor_bytes),
    )
    storage = read_storage(values, environment)
    config = Config(
        data=data,
        role=_flag("--role", read_role, values.pop("role", Role.ALL)),
        host=_flag("--host", read_host, values.pop("host", Config.host)),
        blobs=data / "blobs" if storage.bucket else values.pop("blobs", data / "blobs"),
        storage=storage,
        catalog=CatalogConfig(database_url),
        client=ClientConfig(allow=values.pop("origin_allow", AllowList())),
        edge=edge,
        store=StoreConfig(free_floor_bytes=edge.free_floor_bytes),
        lists=_lists(values),
        scrub=_scrub(values),
        turns=_turns(values),
        fill=fill(values),
        remint=remint(values),
        thumbnails=read_thumbnails(values),
        limits=limits(values),
        doors=doors(values),
        patience=patience(values),
        **values,
    )
    _check(config)
    return config


def _turns(values: dict[str, Any]) -> TurnConfig:
    """Takes what is about turns at the origins out of the values."""
    return TurnConfig(
        host_at_once=values.pop("origin_host_at_once", TurnConfig.host_at_once),
        connection_at_once=values.pop("origin_connection_at_once", TurnConfig.connection_at_once),
        background_at_once=values.pop("origin_background_at_once", TurnConfig.background_at_once),
        host_per_second=values.pop("origin_host_per_second", TurnConfig.host_per_second),
        connection_per_second=values.pop("origin_connection_per_second", TurnConfig.connection_per_second),
        connection_bytes_per_second=values.pop(
            "origin_connection_bytes_per_second", TurnConfig.connection_bytes_per_second
        ),
        most_waiting=values.pop("origin_most_waiting", TurnConfig.most_waiting),
        longest_wait_seconds=values.pop("origin_wait_seconds", TurnConfig.longest_wait_seconds),
    )


def _scrub(values: dict[str, Any]) -> ScrubConfig:
    """Takes what is about the scrub out of the values."""
    every = values.pop("scrub_every_seconds", ScrubConfig.round_every_ms // SECOND)
    return ScrubConfig(
        bytes_per_second=values.pop("scrub_bytes_per_second", ScrubConfig.bytes_per_second),
        round_every_ms=every * SECOND,
    )


def _lists(values: dict[str, Any]) -> ListConfig:
    """Takes what is about lists out of the values."""
    return ListConfig(
        brake=Brake(
            fewest_items=values.pop("list_brake_items", Brake.fewest_items),
            largest_share=values.pop("list_brake_share", Brake.largest_share),
        ),
        most_media=values.pop("list_most_media", ListConfig.most_media),
        longest_read_seconds=values.pop("list_read_seconds", ListConfig.longest_read_seconds),
    )


def _flag(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{name} is not usable: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, (given_as, text) in _texts(environment).items():
        variable = VARIABLES[name]
        try:
            values[variable.field] = variable.read(text)
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"{given_as} is not usable: {error}") from None
    return values


def _texts(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The variables that are set and not empty: how each was given, and its text; secrets from their files."""
    texts: dict[str, tuple[str, str]] = {}
    for given_as, text in environment.items():
        if not given_as.startswith(PREFIX) or given_as.startswith(_OF_TESTS):
            continue
        name = given_as.removeprefix(PREFIX)
        in_file = name not in VARIABLES
        if in_file:
            name = _secret_of_file(name, given_as)
        if not text:
            continue
        if name in texts:
            raise ConfigError(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set; one must go")
        texts[name] = (given_as, _content(text, given_as) if in_file else text)
    return texts


def _secret_of_file(name: str, given_as: str) -> str:
    secret = name.removesuffix("_FILE")
    if secret == name or secret not in VARIABLES or not VARIABLES[secret].secret:
        if near := get_close_matches(name, VARIABLES, n=1):
            raise ConfigError(f"{given_as} is no setting of mediavault; did you mean {PREFIX}{near[0]}?")
        known = ", ".join(PREFIX + variable for variable in VARIABLES)
        raise ConfigError(f"{given_as} is no setting of mediavault; there are {known}")
    return secret


def _content(path: str, given_as: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigError(f"{given_as}: {error.strerror}: {path}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{given_as}: {path} is no text") from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(config: Config) -> None:
    """What cannot work is refused at the start, not at the first request."""
    if config.media_base_url is None and not _is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host} needs MEDIAVAULT_MEDIA_BASE_URL: viewers must be told an address they can reach"
        )
    if config.previous_master_keys and config.master_key is None:
        raise ConfigError("MEDIAVAULT_PREVIOUS_MASTER_KEYS needs MEDIAVAULT_MASTER_KEY, the one that seals")
    if config.role is Role.ALL:
        return
    if sqlite_path(config.catalog.url) is not None:
        raise ConfigError(f"--role {config.role} needs PostgreSQL: SQLite is for one process (--role all)")
    if config.media_base_url is None:
        raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MEDIA_BASE_URL")
    if config.master_key is None:
        raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MASTER_KEY, the same for every process")
