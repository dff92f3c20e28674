"""The table of the environment's variables."""

from pathlib import Path

from mediavault.config.fills import FILLS
from mediavault.config.limits import LIMITS
from mediavault.config.settings import Config
from mediavault.config.texts import (
    read_access_key,
    read_base_url,
    read_blobs_url,
    read_bootstrap_key,
    read_bytes,
    read_count,
    read_database_url,
    read_host,
    read_long_seconds,
    read_port,
    read_rate,
    read_role,
    read_seconds,
    read_share,
    read_yes_or_no,
)
from mediavault.config.thumbnails import THUMBNAILS
from mediavault.config.variable import Variable
from mediavault.data_folder import parse_master_key, parse_master_keys
from mediavault.domain.list_sync import Brake
from mediavault.domain.times import SECOND
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.addresses import AllowList
from mediavault.storer.scrub import ScrubConfig
from mediavault.vault.fills.turns import TurnConfig
from mediavault.vault.syncing import ListConfig

PREFIX = "MEDIAVAULT_"


#: Every variable there is, by its name without the prefix. `docs/configuration.md` is written from this.
VARIABLES: dict[str, Variable] = {
    "DATA": Variable("data", Path, "The folder for everything that is not elsewhere.", "`./mediavault-data`"),
    "ROLE": Variable(
        "role",
        read_role,
        "Which part this process is: `all`, `api`, `media` or `storer`; parts need PostgreSQL.",
        "`all`",
    ),
    "HOST": Variable("host", read_host, "The address to listen on.", f"`{Config.host}`"),
    "API_PORT": Variable("api_port", read_port, "The API's port; 0 picks a free one.", f"`{Config.api_port}`"),
    "MEDIA_PORT": Variable(
        "media_port", read_port, "The media host's port; 0 picks a free one.", f"`{Config.media_port}`"
    ),
    "DATABASE_URL": Variable(
        "database_url",
        read_database_url,
        "The catalog: `sqlite:////absolute/path` or `postgresql://user:password@host/database`.",
        "`catalog.sqlite` in the data folder",
        secret=True,
    ),
    "BLOBS_URL": Variable(
        "blobs",
        read_blobs_url,
        "Where stored bytes lie: `file:///absolute/path` or `s3://bucket/prefix?endpoint=…&region=…` (`docs/s3.md`).",
        "`blobs` in the data folder",
    ),
    "BLOBS_PREVIOUS_URL": Variable(
        "blobs_previous",
        read_blobs_url,
        "Where stored bytes lay before and may still be read, while `mediavault blobs move` runs.",
        "nowhere",
    ),
    "S3_ACCESS_KEY_ID": Variable(
        "s3_access_key_id", read_access_key, "The access key of the buckets.", "`AWS_ACCESS_KEY_ID`", secret=True
    ),
    "S3_SECRET_ACCESS_KEY": Variable(
        "s3_secret_access_key", read_access_key, "Its secret.", "`AWS_SECRET_ACCESS_KEY`", secret=True
    ),
    "S3_SESSION_TOKEN": Variable(
        "s3_session_token", read_access_key, "The token of temporary keys.", "`AWS_SESSION_TOKEN`", secret=True
    ),
    "S3_REDIRECT": Variable(
        "s3_redirect",
        read_yes_or_no,
        "1: viewers are sent to the bucket for stored media; 0: the vault passes the bytes on.",
        "`0`",
    ),
    "MEDIA_BASE_URL": Variable(
        "media_base_url",
        read_base_url,
        "How viewers reach the media host. Needed with a host that is not loopback, and with every role but `all`.",
        "the media host's own address",
    ),
    "UPSTREAM_URL": Variable(
        "upstream_url", read_base_url, "The Access API behind connections that name none.", "none: they must name one"
    ),
    "MASTER_KEY": Variable(
        "master_key",
        parse_master_key,
        "What every secret at rest is sealed with: 64 hexadecimal digits. Needed with every role but `all`.",
        "`master.key` in the data folder, made at the first start",
        secret=True,
    ),
    "PREVIOUS_MASTER_KEYS": Variable(
        "previous_master_keys",
        parse_master_keys,
        "Keys that open what they sealed and seal nothing more, comma-separated: see `docs/keys.md`. "
        "Only beside `MEDIAVAULT_MASTER_KEY`.",
        "the further lines of `master.key`",
        secret=True,
    ),
    "ORIGIN_ALLOW": Variable(
        "origin_allow",
        AllowList.parse,
        "What may be dialled although it is not public: `host:port` or CIDR, comma-separated.",
        "nothing",
    ),
    "BOOTSTRAP_API_KEY": Variable(
        "bootstrap_api_key",
        read_bootstrap_key,
        "At the first start this key is created, with all scopes; later it is ignored.",
        "a key is made, and shown once",
        secret=True,
    ),
    "EDGE_CAPACITY_BYTES": Variable(
        "edge_capacity_bytes",
        read_bytes,
        "What all copies at the edge together may take, bytes; 0 keeps none.",
        f"`{EdgeConfig.capacity_bytes}`",
    ),
    "FREE_FLOOR_BYTES": Variable(
        "free_floor_bytes",
        read_bytes,
        "Nothing is fetched or stored that would leave less of the disk free, bytes.",
        f"`{EdgeConfig.free_floor_bytes}`",
    ),
    "ORIGIN_HOST_AT_ONCE": Variable(
        "origin_host_at_once",
        read_count,
        "Fetches of media under way at once from one origin host (name and port).",
        f"`{TurnConfig.host_at_once}`",
    ),
    "ORIGIN_CONNECTION_AT_ONCE": Variable(
        "origin_connection_at_once",
        read_count,
        "Fetches of media under way at once for one connection, from all hosts.",
        f"`{TurnConfig.connection_at_once}`",
    ),
    "ORIGIN_BACKGROUND_AT_ONCE": Variable(
        "origin_background_at_once",
        read_count,
        "Those of a host's fetches at once that no viewer waits for; the rest is kept free for viewers.",
        f"`{TurnConfig.background_at_once}`",
    ),
    "ORIGIN_HOST_PER_SECOND": Variable(
        "origin_host_per_second",
        read_rate,
        "Fetches of media begun per second from one origin host; 0 is no limit.",
        f"`{TurnConfig.host_per_second:g}`",
    ),
    "ORIGIN_CONNECTION_PER_SECOND": Variable(
        "origin_connection_per_second",
        read_rate,
        "Fetches of media begun per second for one connection; 0 is no limit.",
        f"`{TurnConfig.connection_per_second:g}`",
    ),
    "ORIGIN_CONNECTION_BYTES_PER_SECOND": Variable(
        "origin_connection_bytes_per_second",
        read_bytes,
        "Bytes per second fetched for one connection, by all its viewers and stores; 0 is no limit.",
        f"`{TurnConfig.connection_bytes_per_second}`",
    ),
    "ORIGIN_MOST_WAITING": Variable(
        "origin_most_waiting",
        read_count,
        "Fetches that wait for one origin host; one more is answered with 503 and Retry-After.",
        f"`{TurnConfig.most_waiting}`",
    ),
    "ORIGIN_WAIT_SECONDS": Variable(
        "origin_wait_seconds",
        read_seconds,
        "How long a fetch waits for its turn, seconds; then it is answered with 503 and Retry-After.",
        f"`{TurnConfig.longest_wait_seconds:g}`",
    ),
    **FILLS,
    "LIST_BRAKE_ITEMS": Variable(
        "list_brake_items",
        read_count,
        "A list's sync that would remove fewer media than these never waits for a confirmation.",
        f"`{Brake.fewest_items}`",
    ),
    "LIST_BRAKE_SHARE": Variable(
        "list_brake_share",
        read_share,
        "A sync that would remove a larger share of the list's last one waits for a confirmation; 1 never waits.",
        f"`{Brake.largest_share}`",
    ),
    "LIST_MOST_MEDIA": Variable(
        "list_most_media",
        read_count,
        "A list with more media is refused: it is held in memory while it is synced.",
        f"`{ListConfig.most_media}`",
    ),
    "LIST_READ_SECONDS": Variable(
        "list_read_seconds",
        read_seconds,
        "How long reading a list upstream may take, seconds.",
        f"`{ListConfig.longest_read_seconds:g}`",
    ),
    "SCRUB_BYTES_PER_SECOND": Variable(
        "scrub_bytes_per_second",
        read_bytes,
        "How fast stored bytes are read again in the background and compared with their digests; 0 never reads them.",
        f"`{ScrubConfig.bytes_per_second}`",
    ),
    "SCRUB_EVERY_SECONDS": Variable(
        "scrub_every_seconds",
        read_long_seconds,
        "From the begin of one such round through everything stored to the next one's, seconds.",
        f"`{ScrubConfig.round_every_ms // SECOND}`",
    ),
    **LIMITS,
    **THUMBNAILS,
    "DRAIN_SECONDS": Variable(
        "drain_seconds",
        read_seconds,
        "How long downloads and stores may still run after SIGTERM, seconds; then they are cut.",
        f"`{Config.drain_seconds}`",
    ),
}
