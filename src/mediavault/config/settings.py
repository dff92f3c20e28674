"""What a process must know to start. Each room declares its own small config dataclass."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mediavault.api.event_stream import StreamConfig
from mediavault.api.limits import LimitConfig
from mediavault.blobs.places import StorageConfig
from mediavault.catalog.database import CatalogConfig
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.client import ClientConfig
from mediavault.origin.pacing import PaceConfig
from mediavault.serving.api_protocol import ApiPatience
from mediavault.serving.doors import DoorConfig
from mediavault.storer.deliveries import DeliveryConfig
from mediavault.storer.scrub import ScrubConfig
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.thumbnails.making import ThumbnailConfig
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.reminting import RemintConfig
from mediavault.vault.fills.turns import TurnConfig
from mediavault.vault.syncing import ListConfig
from mediavault.vault.tending import TendConfig


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
    master_key: bytes | None = field(default=None, repr=False)  #: from the data folder unless given
    previous_master_keys: tuple[bytes, ...] = field(default=(), repr=False)  #: open what they sealed, seal nothing
    bootstrap_api_key: str | None = field(default=None, repr=False)  #: at the first start only
    blobs: Path = Path()  #: the folder of stored bytes, unless they lie in a bucket
    storage: StorageConfig = field(default_factory=StorageConfig)
    drain_seconds: float = 20  #: after SIGTERM
    catalog: CatalogConfig = field(
        default_factory=lambda: CatalogConfig(""), repr=False
    )  #: its URL may hold a password
    client: ClientConfig = field(default_factory=ClientConfig)
    pace: PaceConfig = field(default_factory=PaceConfig)
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    fill: FillConfig = field(default_factory=FillConfig)
    turns: TurnConfig = field(default_factory=TurnConfig)
    tend: TendConfig = field(default_factory=TendConfig)
    remint: RemintConfig = field(default_factory=RemintConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    scrub: ScrubConfig = field(default_factory=ScrubConfig)
    lists: ListConfig = field(default_factory=ListConfig)
    deliveries: DeliveryConfig = field(default_factory=DeliveryConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    doors: DoorConfig = field(default_factory=DoorConfig)
    patience: ApiPatience = field(default_factory=ApiPatience)
    thumbnails: ThumbnailConfig = field(default_factory=ThumbnailConfig)
