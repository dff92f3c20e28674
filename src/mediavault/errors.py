"""Every error the vault raises. A class's docstring is its default message.

* VaultError
  x InvalidRequest            the caller sent something that cannot be right
    + ConnectionRequired      the x-connection-id header is missing
    + ConnectionUnknown       ... or names no connection of this organisation
    + BodyTooLarge
  x NotPermitted              the caller may not do this
    + BadSignature            a media URL was altered or has expired
    + SessionNotProvided      the upstream wants a session and got none
    + SessionExpired          the upstream refuses the connection's session
  x NotFound                  no such thing in this vault
    + MediaNotFound
  x Conflict                  the thing is not in a state that allows it
    + HeldBack                it would do more than is believed without a confirmation; `details` say what
  x IllegalTransition         the lifecycle has no such step
  x LostRace                  somebody else moved the variant first
  x LimitReached              a storage, size or rate limit
    + TooManyRequests         ... with the seconds to wait
    + DiskFull                less free space than the floor
    + RoomPromised            the room there is belongs to stores under way
    + OriginBusy              as much is fetched from the origin as may be
  x OriginError               the origin did not give us the bytes
    + OriginRefused           and will not, until a new URL is seen (401, 403, 404, 410, wrong type)
    + OriginUnavailable       but may later (timeout, 5xx, reset, truncation)
      - OriginExpired         ... with a fresh URL, which cannot be had now
      - OriginChanged         ... as other bytes than those that were begun with
      - RangesUnusable        ... as a whole: its parts are not what was asked for
    + OriginCoolingDown       it failed lately and is not asked again yet
    + AddressDenied           it lives at an address that may not be dialled
  x UpstreamError             the upstream's answer cannot be used
    + UpstreamUnavailable     it may be, later
  x BlobError                 the blob store failed
    + BlobNotFound
    + BlobCorrupt             the bytes do not match their digest
    + BlobUnavailable         but may work later
      - BlobsAway             ... once the place where the blobs lie is there, or is read
  x ThumbnailError            no thumbnail was made of a stored copy
    + ThumbnailRefused        and none can be
    + ThumbnailFailed         ... this time: its process was killed or broke
    + ThumbnailPending        not yet
  x CatalogError              the database failed
    + CatalogUnavailable      but may work later
    + SchemaTooNew            a newer mediavault wrote this database
  x ConfigError               the vault cannot start like this
    + WrongMasterKey          the master key does not open this vault's secrets
    + DataFolderLocked        another process holds the data folder

Domain code never names an HTTP status: `problems.py` holds that table.
"""


class VaultError(Exception):
    """Something went wrong in the vault."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class InvalidRequest(VaultError):
    """The request cannot be right."""


class ConnectionRequired(InvalidRequest):
    """x-connection-id header is required"""


class ConnectionUnknown(InvalidRequest):
    """x-connection-id header is invalid"""


class BodyTooLarge(InvalidRequest):
    """The request body is too large"""


class NotPermitted(VaultError):
    """Unauthorized"""


class BadSignature(NotPermitted):
    """The media URL was altered or has expired"""


class SessionNotProvided(NotPermitted):
    """The upstream wants a session and the connection has none"""


class SessionExpired(NotPermitted):
    """The upstream refuses the session of this connection: import it again"""


class NotFound(VaultError):
    """Not found"""


class MediaNotFound(NotFound):
    """Media not found"""


class Conflict(VaultError):
    """This cannot be done in the present state."""


class HeldBack(Conflict):
    """This would do more than is believed without a confirmation; ask again with confirm=true."""

    def __init__(self, message: str | None = None, *, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.details = details  #: what it would do


class IllegalTransition(VaultError):
    """The lifecycle has no such step."""


class LostRace(VaultError):
    """Somebody else moved the variant first."""


class LimitReached(VaultError):
    """A limit would be exceeded."""


class TooManyRequests(LimitReached):
    """Too many requests"""

    def __init__(self, message: str | None = None, *, retry_after: int | str = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: seconds, or an HTTP date that an upstream gave


class DiskFull(LimitReached):
    """The disk has less free space than the floor; free some, or lower the floor."""


class RoomPromised(LimitReached):
    """The room under the storage limit is promised to stores under way; try again."""


class OriginBusy(LimitReached):
    """As much is being fetched from the origin as may be; try again"""

    def __init__(self, message: str | None = None, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: seconds


class OriginError(VaultError):
    """The origin did not give us the bytes."""

    tried_key: str | None = None  #: of the origin URL that failed, where it is not the one that was begun with


class OriginRefused(OriginError):
    """The origin will not give us the bytes until a new URL is seen."""

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status  #: the origin's, where it was that which refused


class OriginUnavailable(OriginError):
    """The origin may work later."""

    def __init__(self, message: str | None = None, *, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: what the origin says of it, as it was written


class OriginExpired(OriginUnavailable):
    """The URL at the origin has expired, and the upstream gives no fresh one now."""


class OriginChanged(OriginUnavailable):
    """The origin has other bytes now than those that were begun with."""


class RangesUnusable(OriginUnavailable):
    """The origin answers a Range with what cannot be used."""


class OriginCoolingDown(OriginError):
    """The origin failed lately and is not asked again yet"""

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: seconds


class AddressDenied(OriginError):
    """The address may not be dialled; an operator can allow it with MEDIAVAULT_ORIGIN_ALLOW."""


class UpstreamError(VaultError):
    """The upstream's answer cannot be used."""


class UpstreamUnavailable(UpstreamError):
    """The upstream does not answer; it may later."""


class BlobError(VaultError):
    """The blob store failed."""


class BlobNotFound(BlobError):
    """The blob store has no such blob."""


class BlobCorrupt(BlobError):
    """The stored bytes do not match their digest."""


class BlobUnavailable(BlobError):
    """The blob store may work later."""


class BlobsAway(BlobUnavailable):
    """Blobs are missing because their place is: a disk that is not mounted, or a place that is not configured."""


class ThumbnailError(VaultError):
    """No thumbnail was made."""


class ThumbnailRefused(ThumbnailError):
    """No thumbnail can be made of it."""


class ThumbnailFailed(ThumbnailError):
    """The thumbnail could not be made this time."""


class ThumbnailPending(ThumbnailError):
    """The thumbnail is still to be made from the stored copy; try again"""


class CatalogError(VaultError):
    """The database failed."""


class CatalogUnavailable(CatalogError):
    """The database may work later."""


class SchemaTooNew(CatalogError):
    """This database was written by a newer mediavault; upgrade the program."""


class ConfigError(VaultError):
    """The vault cannot start like this."""


class WrongMasterKey(ConfigError):
    """The master key does not open this vault's secrets; give it the key it was made with."""


class DataFolderLocked(ConfigError):
    """Another process holds the data folder; stop it, or use its API."""
