"""Buckets as URLs and environment name them, the errors of the service, and signatures."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.blobs import s3_errors
from mediavault.blobs.places import StorageConfig, url_of
from mediavault.blobs.s3_config import S3Credentials, S3Place, read_s3_url
from mediavault.blobs.s3_signing import LONGEST_SECONDS, presigned
from mediavault.config import read_config
from mediavault.errors import BlobNotFound, BlobUnavailable, ConfigError, DiskFull

KEYS = {"MEDIAVAULT_S3_ACCESS_KEY_ID": "ours", "MEDIAVAULT_S3_SECRET_ACCESS_KEY": "our-secret"}
AWS = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws-secret"}


@pytest.mark.parametrize(
    ("text", "place", "base_url"),
    [
        ("s3://bucket", S3Place("bucket"), "https://bucket.s3.us-east-1.amazonaws.com"),
        (
            "s3://bucket/a/b/?region=eu-central-1",
            S3Place("bucket", "a/b", region="eu-central-1"),
            "https://bucket.s3.eu-central-1.amazonaws.com",
        ),
        (
            "s3://bucket?endpoint=http://127.0.0.1:7480",
            S3Place("bucket", "", "http://127.0.0.1:7480", path_style=True),
            "http://127.0.0.1:7480/bucket",
        ),
        (
            "s3://bucket?endpoint=https://S3.test/&path_style=0",
            S3Place("bucket", "", "https://s3.test"),
            "https://bucket.s3.test",
        ),
    ],
)
def test_a_bucket_is_read_from_its_url(text, place, base_url):
    assert read_s3_url(text) == place
    assert place.base_url == base_url


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3://b",
        "s3://Bucket",
        "s3://key:secret@bucket",
        "s3://bucket/../up",
        "s3://bucket/.quarantine",
        "s3://bucket/a//b",
        "s3://bucket/a b",
        "s3://bucket/é",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://user:pass@host",
        "s3://bucket?endpoint=http://host/path",
        "s3://bucket?endpoint=http://host:99999",
        "s3://bucket?region=EU west",
        "s3://bucket?path_style=maybe",
        "s3://bucket?secret=x",
        "s3://bucket?region=a&region=b",
        "s3://bucket#fragment",
        "https://bucket",
    ],
)
def test_what_is_no_bucket_is_refused(text):
    with pytest.raises(ValueError):
        read_s3_url(text)


def storage(environment: dict[str, str]) -> StorageConfig:
    return read_config(environment).storage


def test_what_a_url_leaves_open_is_taken_from_aws_own_variables():
    found = storage(
        {"MEDIAVAULT_BLOBS_URL": "s3://bucket", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "here-1", **AWS}
    )
    assert found.bucket == S3Place("bucket", "", "http://127.0.0.1:1", "here-1", path_style=True)
    assert found.credentials == S3Credentials("aws", "aws-secret")


def test_our_credentials_go_before_aws_and_are_never_mixed_with_them():
    url = {"MEDIAVAULT_BLOBS_URL": "s3://bucket", "AWS_SESSION_TOKEN": "token"}
    assert storage({**url, **KEYS, **AWS}).credentials == S3Credentials("ours", "our-secret")
    with pytest.raises(ConfigError, match="belong together"):
        storage({**url, **AWS, "MEDIAVAULT_S3_ACCESS_KEY_ID": "ours"})


def test_a_secret_may_lie_in_a_file_and_is_never_shown(tmp_path):
    (tmp_path / "secret").write_text("our-secret\n")
    given_file = {
        "MEDIAVAULT_S3_ACCESS_KEY_ID": "ours",
        "MEDIAVAULT_S3_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
    }
    config = read_config({"MEDIAVAULT_BLOBS_URL": "s3://bucket", **given_file})
    assert config.storage.credentials == S3Credentials("ours", "our-secret")
    assert "our-secret" not in repr(config)


@pytest.mark.parametrize(
    "environment",
    [
        {"MEDIAVAULT_S3_REDIRECT": "1"},
        {"MEDIAVAULT_BLOBS_URL": "s3://bucket/a", "MEDIAVAULT_BLOBS_PREVIOUS_URL": "s3://bucket/a/"},
        {"MEDIAVAULT_BLOBS_URL": "file:///a", "MEDIAVAULT_BLOBS_PREVIOUS_URL": "file:///a"},
        {"MEDIAVAULT_BLOBS_URL": "s3://bucket", "AWS_ENDPOINT_URL": "nonsense"},
    ],
)
def test_what_cannot_be_meant_is_refused(environment):
    with pytest.raises(ConfigError):
        read_config({**environment, **KEYS})


def test_a_place_has_one_spelling_without_secrets():
    assert url_of(read_s3_url("s3://bucket/a/?endpoint=http://H:1&path_style=1")) == "s3://bucket/a?endpoint=http://h:1"


def told(status: int, code: str) -> Exception:
    return OSError(
        f"Server returned non-2xx status code: {status} X: <Error><Code>{code}</Code><Secret>s</Secret></Error>"
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(str(told(404, "NoSuchKey"))), BlobNotFound),
        (FileNotFoundError("status code: 404 Not Found: "), BlobNotFound),
        (FileNotFoundError(str(told(404, "NoSuchBucket"))), BlobUnavailable),
        (FileNotFoundError(str(told(404, "NoSuchUpload"))), BlobUnavailable),
        (told(403, "AccessDenied"), BlobUnavailable),
        (told(503, "SlowDown"), BlobUnavailable),
        (told(507, "InsufficientStorage"), DiskFull),
        (told(403, "QuotaExceeded"), DiskFull),
        (OSError("connection reset"), BlobUnavailable),
    ],
)
def test_an_error_of_the_service_is_told_apart(error, kind):
    found = s3_errors.blob_error("the blob", error)
    assert type(found) is kind
    assert "Secret" not in str(found)


@given(seconds=st.integers(-5, 10**7), name=st.text("abc/-_.~ é+%", min_size=1, max_size=20))
def test_a_signed_url_lives_no_longer_than_asked_and_hides_the_secret(seconds, name):
    url = presigned(
        "GET",
        f"https://host.test/bucket/{name}",
        {"response-content-type": "image/jpeg"},
        credentials=S3Credentials("key", "very-secret", "token"),
        region="here-1",
        seconds=seconds,
        now=1_800_000_000_000,
    )
    query = parse_qs(urlsplit(url).query)
    assert int(query["X-Amz-Expires"][0]) == max(1, min(seconds, LONGEST_SECONDS))
    assert "very-secret" not in url
    assert query["X-Amz-Security-Token"] == ["token"]
    assert url.isascii()
    assert " " not in url
