"""Reading the configuration: flags before the environment before defaults. Unknown names are refused."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mediavault.catalog.database import CatalogConfig, sqlite_path
from mediavault.config.settings import Config, Role
from mediavault.config.variables import PREFIX, VARIABLES, read_host, read_role
from mediavault.edge.cache import EdgeConfig
from mediavault.errors import ConfigError
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.storer.store_variant import StoreConfig

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
    config = Config(
        data=data,
        role=_flag("--role", read_role, values.pop("role", Role.ALL)),
        host=_flag("--host", read_host, values.pop("host", Config.host)),
        blobs=values.pop("blobs", data / "blobs"),
        catalog=CatalogConfig(database_url),
        client=ClientConfig(allow=values.pop("origin_allow", AllowList())),
        edge=edge,
        store=StoreConfig(free_floor_bytes=edge.free_floor_bytes),
        **values,
    )
    _check(config)
    return config


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
    if config.role is Role.ALL:
        return
    if sqlite_path(config.catalog.url) is not None:
        raise ConfigError(f"--role {config.role} needs PostgreSQL: SQLite is for one process (--role all)")
    if config.media_base_url is None:
        raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MEDIA_BASE_URL")
    if config.master_key is None:
        raise ConfigError(f"--role {config.role} needs MEDIAVAULT_MASTER_KEY, the same for every process")
