"""What is asked of the bucket itself, which obstore does not: may we, does it tidy up, what was left unfinished.

Few and small requests, each with a signed URL and a bounded answer, in a thread.
"""

import http.client
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from mediavault.blobs.s3_config import S3Credentials, S3Place
from mediavault.blobs.s3_errors import code_of, config_error, refusal
from mediavault.blobs.s3_signing import presigned
from mediavault.blobs.steps import in_thread
from mediavault.domain.times import Now
from mediavault.errors import BlobUnavailable

_TIMEOUT_SECONDS = 20
_SIGNED_SECONDS = 300
_LARGEST_ANSWER_BYTES = 4 << 20


@dataclass(frozen=True)
class Unfinished:
    """A multipart upload that was neither completed nor aborted."""

    name: str  #: of the object
    upload_id: str
    started_at: float  #: Unix seconds


@dataclass(frozen=True)
class Answer:
    """Status and body."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as far as it is text."""
        return self.body.decode("utf-8", "replace")


class Bucket:
    """The questions. BlobUnavailable where the service does not answer, or refuses."""

    def __init__(self, place: S3Place, credentials: S3Credentials, now: Now) -> None:
        self._place = place
        self._credentials = credentials
        self._now = now

    async def check(self) -> None:
        """Raise ConfigError where the bucket is missing, forbidden or elsewhere; BlobUnavailable for no answer."""
        answer = await self._ask("GET", {"list-type": "2", "max-keys": "1", "prefix": self._prefix})
        if answer.status == 200:
            return
        wrong = config_error(self._place.url, answer.status, answer.text)
        raise wrong or self._failed(answer)

    async def aborts_unfinished_uploads(self) -> bool:
        """Whether a lifecycle rule of the bucket removes the parts of uploads that were never completed."""
        answer = await self._ask("GET", {"lifecycle": ""})
        if answer.status == 404 and code_of(answer.text) == "NoSuchLifecycleConfiguration":
            return False
        if answer.status != 200:
            raise self._failed(answer)
        return any(self._aborts(rule) for rule in _all(_parsed(answer), "Rule"))

    async def unfinished(self, name: str | None = None) -> list[Unfinished]:
        """The uploads under our prefix, or of one object, that were begun and neither completed nor aborted."""
        found: list[Unfinished] = []
        marks: dict[str, str] = {}
        while True:
            asked = {"uploads": "", "prefix": name or self._prefix, "max-uploads": "1000", **marks}
            answer = await self._ask("GET", asked)
            if answer.status != 200:
                raise self._failed(answer)
            page = _parsed(answer)
            uploads = [_unfinished(each) for each in _all(page, "Upload")]
            found += [each for each in uploads if name is None or each.name == name]
            marks = {
                "key-marker": _text(page, "NextKeyMarker") or "",
                "upload-id-marker": _text(page, "NextUploadIdMarker") or "",
            }
            if _text(page, "IsTruncated") != "true" or not marks["key-marker"]:
                return found

    async def abort(self, upload: Unfinished) -> None:
        """Forget an upload's parts; one that is gone already is fine."""
        answer = await self._ask("DELETE", {"uploadId": upload.upload_id}, upload.name)
        if answer.status not in {200, 204, 404} or code_of(answer.text) == "NoSuchBucket":
            raise self._failed(answer)

    def presigned(self, name: str, query: dict[str, str], seconds: int) -> str:
        """A URL of one object for GET, good for so long."""
        return self._signed("GET", query, name, seconds)

    @property
    def _prefix(self) -> str:
        return f"{self._place.prefix}/" if self._place.prefix else ""

    def _signed(self, method: str, query: dict[str, str], name: str, seconds: int) -> str:
        return presigned(
            method,
            f"{self._place.base_url}/{name}",
            query,
            credentials=self._credentials,
            region=self._place.region,
            seconds=seconds,
            now=self._now(),
        )

    async def _ask(self, method: str, query: dict[str, str], name: str = "") -> Answer:
        url = self._signed(method, query, name, _SIGNED_SECONDS)
        try:
            return await in_thread(self._place.url, _exchange, method, url)
        except http.client.HTTPException as error:
            raise BlobUnavailable(f"{self._place.url}: {type(error).__name__}") from error

    def _failed(self, answer: Answer) -> BlobUnavailable:
        why = refusal(answer.status, answer.text) or f"the S3 service failed ({code_of(answer.text) or answer.status})"
        return BlobUnavailable(f"{self._place.url}: {why}")

    def _aborts(self, rule: ElementTree.Element) -> bool:
        """Whether a rule is in force, removes unfinished uploads and covers all of our prefix."""
        paths = ("Filter/Prefix", "Filter/And/Prefix", "Prefix")
        covers = next((text for path in paths if (text := _text(rule, path))), "")
        narrowed = any(_all(rule, name) for name in ("Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"))
        days = _text(rule, "AbortIncompleteMultipartUpload/DaysAfterInitiation")
        enabled = _text(rule, "Status") == "Enabled"
        return enabled and days is not None and not narrowed and self._prefix.startswith(covers)


def lifecycle_advice(place: S3Place) -> str:
    """What to do about a bucket that keeps the parts of broken uploads for ever."""
    return (
        f"{place.url} has no lifecycle rule that aborts incomplete multipart uploads: what a crash leaves is kept, and "
        "paid for, until a sweep of the vault finds it; add AbortIncompleteMultipartUpload with 7 days (docs/s3.md)"
    )


def _exchange(method: str, url: str) -> Answer:
    """One request. Redirects are not followed: they would leave the endpoint the operator named."""
    parts = urlsplit(url)
    kinds: dict[str, Callable[..., http.client.HTTPConnection]] = {
        "http": http.client.HTTPConnection,
        "https": http.client.HTTPSConnection,
    }
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, f"{quote(parts.path, safe='/-_.~%')}?{parts.query}")
        response = connection.getresponse()
        return Answer(response.status, response.read(_LARGEST_ANSWER_BYTES))
    finally:
        connection.close()


def _parsed(answer: Answer) -> ElementTree.Element:
    if b"<!DOCTYPE" in answer.body or b"<!ENTITY" in answer.body:
        raise BlobUnavailable("the S3 service's answer is no plain XML")
    try:
        return ElementTree.fromstring(answer.body)  # noqa: S314  # bounded, and without entities
    except ElementTree.ParseError as error:
        raise BlobUnavailable("the S3 service's answer is no XML") from error


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Elements of that name at any depth, with or without the service's namespace."""
    return [each for each in element.iter() if each.tag.rpartition("}")[2] == name]


def _text(element: ElementTree.Element, path: str) -> str | None:
    for name in path.split("/"):
        child = next((each for each in element if each.tag.rpartition("}")[2] == name), None)
        if child is None:
            return None
        element = child
    return element.text or ""


def _unfinished(element: ElementTree.Element) -> Unfinished:
    started = datetime.fromisoformat(_text(element, "Initiated") or "")
    return Unfinished(_text(element, "Key") or "", _text(element, "UploadId") or "", started.timestamp())
