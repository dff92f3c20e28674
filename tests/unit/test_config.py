"""The configuration: where a setting comes from, and what is refused."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mediavault.config import PREFIX, VARIABLES, Config, Role, read_config
from mediavault.domain.list_sync import Brake
from mediavault.errors import ConfigError
from mediavault.thumbnails.making import ThumbnailConfig
from mediavault.vault.fills.reminting import RemintConfig
from mediavault.vault.fills.turns import TurnConfig
from mediavault.vault.syncing import ListConfig

PROJECT = Path(__file__).parents[2]
KEY = "5a" * 32
SECRET = "s3cret-and-longer"
POSTGRES = "postgresql://vault@127.0.0.1/vault"


def read(**settings: str) -> Config:
    return read_config({PREFIX + name: text for name, text in settings.items()})


def error(**settings: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(**settings)
    return str(refused.value)


def test_nothing_has_to_be_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = read_config({"PATH": "/bin"})
    assert config.data == tmp_path / "mediavault-data"
    assert config.blobs == config.data / "blobs"
    assert config.catalog.url == f"sqlite:///{config.data}/catalog.sqlite"
    assert (config.role, config.host, config.api_port, config.media_port) == (Role.ALL, "127.0.0.1", 8080, 8081)


def test_a_flag_goes_before_the_environment_and_that_before_the_default():
    environment = {"MEDIAVAULT_API_PORT": "1", "MEDIAVAULT_MEDIA_PORT": "2", "MEDIAVAULT_HOST": "::1"}
    config = read_config(environment, api_port=0, media_port=None, data=None)
    assert (config.api_port, config.media_port, config.host) == (0, 2, "::1")


def test_every_variable_reaches_the_configuration(tmp_path):
    config = read(
        DATA=str(tmp_path),
        ROLE="storer",
        HOST="localhost",
        API_PORT="1",
        MEDIA_PORT="2",
        DATABASE_URL=POSTGRES,
        BLOBS_URL="file:///srv/my%20blobs",
        MEDIA_BASE_URL="https://media.test/vault/",
        UPSTREAM_URL="http://upstream.test:8000",
        MASTER_KEY=KEY,
        ORIGIN_ALLOW="127.0.0.1:8082,10.0.0.0/8",
        BOOTSTRAP_API_KEY=SECRET,
        EDGE_CAPACITY_BYTES="3",
        FREE_FLOOR_BYTES="4",
        LIST_BRAKE_ITEMS="9",
        LIST_BRAKE_SHARE="0.25",
        LIST_MOST_MEDIA="77",
        LIST_READ_SECONDS="1.5",
        DRAIN_SECONDS="0.5",
        ORIGIN_HOST_AT_ONCE="5",
        ORIGIN_CONNECTION_AT_ONCE="6",
        ORIGIN_BACKGROUND_AT_ONCE="7",
        ORIGIN_HOST_PER_SECOND="8.5",
        ORIGIN_CONNECTION_PER_SECOND="0",
        ORIGIN_MOST_WAITING="9",
        ORIGIN_WAIT_SECONDS="10",
        FILL_LONGEST_SECONDS="11",
        FILL_LARGEST_BYTES="12",
        FILL_LEAST_BYTES_PER_SECOND="14",
        FILL_WHOLE_BYTES="15",
        FILL_OPENING_BYTES="5000",
        FILL_SEEKS_AT_ONCE="16",
        FILL_GRACE_SECONDS="17",
        FILL_RESUMES="18",
        FILL_REFUSED_SECONDS="19",
        REMINT_MOST_MEDIA="20",
        REMINT_LONGEST_SECONDS="21",
        REMINT_WALK_SECONDS="22",
        EDGE_FRESH_SECONDS="13",
        EDGE_STALE_IF_ERROR_SECONDS="0",
    )
    assert config.turns == TurnConfig(5, 6, 7, 8.5, 0, most_waiting=9, longest_wait_seconds=10)
    assert (config.fill.longest_seconds, config.fill.largest_object_bytes) == (11, 12)
    assert (config.fill.fresh_ms, config.fill.stale_if_error_ms) == (13_000, 0)
    assert (config.fill.least_bytes_per_second, config.fill.small_object_bytes) == (14, 15)
    assert (config.fill.opening_bytes, config.fill.most_seeks, config.fill.grace_seconds) == (5000, 16, 17)
    assert (config.fill.most_resumes, config.fill.refused_cool_down_ms) == (18, 19_000)
    assert config.remint == RemintConfig(20, 21, walk_again_ms=22_000)
    assert config.lists == ListConfig(Brake(9, 0.25), most_media=77, longest_read_seconds=1.5)
    assert (config.data, config.role, config.host, config.api_port, config.media_port) == (
        tmp_path,
        Role.STORER,
        "localhost",
        1,
        2,
    )
    assert (config.catalog.url, config.blobs) == (POSTGRES, Path("/srv/my blobs"))
    assert (config.media_base_url, config.upstream_url) == ("https://media.test/vault", "http://upstream.test:8000")
    assert (config.master_key, config.bootstrap_api_key) == (bytes.fromhex(KEY), SECRET)
    assert config.client.allow.permits("10.1.2.3", 80)
    assert (config.edge.capacity_bytes, config.edge.free_floor_bytes, config.store.free_floor_bytes) == (3, 4, 4)
    assert config.drain_seconds == 0.5


def test_a_first_part_too_small_to_tell_its_type_by_is_refused():
    assert "4096" in error(FILL_OPENING_BYTES="4095")


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_unset(name):
    assert read(**{name: ""}) == read()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("API_PORT", text) for text in ("-1", "65536", "0000009999999", "80 ", "٣", "1_0", "8080.0", "x")),
        *(("DRAIN_SECONDS", text) for text in ("nan", "inf", "-1", "1e9", "soon")),
        *(("LIST_BRAKE_SHARE", text) for text in ("nan", "inf", "-0.1", "1.1", "half")),
        *(("LIST_BRAKE_ITEMS", text) for text in ("0", "-1", "1.5", "\u0665", "9" * 30)),
        *(("EDGE_CAPACITY_BYTES", text) for text in ("-1", "1G", "1" * 19)),
        *(("ORIGIN_HOST_AT_ONCE", text) for text in ("0", "-1", "many", "1.5")),
        *(("ORIGIN_HOST_PER_SECOND", text) for text in ("-1", "nan", "inf", "fast")),
        *(("EDGE_FRESH_SECONDS", text) for text in ("-1", "1.5", "9" * 11)),
        *(("HOST", text) for text in ("127.0.0.1/", " ::1", "a\nb")),
        ("ROLE", "cook"),
        *(("DATABASE_URL", text) for text in ("mysql://v", "sqlite://", "sqlite:///", "postgresql:/v", "v")),
        ("DATABASE_URL", "postgresql://vault:a/b@host/vault"),
        *(("BLOBS_URL", text) for text in ("s3://Bucket", "s3://key:secret@bucket", "s3://bucket?region=a&region=b")),
        *(("BLOBS_URL", text) for text in ("file://host/blobs", "/blobs", "file:blobs", "file:///b?c")),
        *(("MEDIA_BASE_URL", text) for text in ("media.test", "ftp://m", "http://", "http://m/?a", "http://m:99999")),
        *(("MEDIA_BASE_URL", text) for text in ("http://[::1", "http://u:p@m", "http://m\t", "http://mé.test")),
        ("UPSTREAM_URL", "http://u/#"),
        *(("MASTER_KEY", text) for text in ("5a", KEY + "5a", "zz" * 32)),
        *(("ORIGIN_ALLOW", text) for text in ("everything", "10.0.0.0/99", "host:")),
        *(
            ("BOOTSTRAP_API_KEY", text)
            for text in ("short", "x" * 257, "with a space 0123456789", "ünïcode-0123456789")
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_variable(name, text):
    said = error(**{name: text})
    assert said.startswith(f"MEDIAVAULT_{name} is not usable: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    "url",
    [f"postgresql://vault:{SECRET}@host:port/v", f"postgresql://vault:{SECRET}@[::1/v", f"mysql://{SECRET}", SECRET],
)
def test_no_error_repeats_a_database_url(url):
    assert SECRET not in error(DATABASE_URL=url)


def test_no_secret_is_in_the_configurations_repr():
    config = read(MASTER_KEY=KEY, BOOTSTRAP_API_KEY=SECRET, DATABASE_URL=f"postgresql://v:{SECRET}@h/v")
    assert SECRET not in repr(config)
    assert repr(bytes.fromhex(KEY)) not in repr(config)


def test_a_secret_may_lie_in_a_file(tmp_path):
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    assert read(MASTER_KEY_FILE=str(file)).master_key == bytes.fromhex(KEY)
    assert "are both set" in error(MASTER_KEY_FILE=str(file), MASTER_KEY=KEY)
    file.write_bytes(b"\xff\xfe")
    assert "MEDIAVAULT_MASTER_KEY_FILE" in error(MASTER_KEY_FILE=str(file))
    file.write_text("5a")
    assert error(MASTER_KEY_FILE=str(file)).startswith("MEDIAVAULT_MASTER_KEY_FILE is not usable: ")
    assert "No such file" in error(MASTER_KEY_FILE=str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["_FILE", "", "data", "LISTEN"])
def test_a_name_that_is_no_setting_is_refused_and_the_settings_named(name):
    said = error(**{name: ""})
    assert said.startswith(f"MEDIAVAULT_{name} is no setting")
    assert "MEDIAVAULT_ORIGIN_ALLOW" in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("MEDIA_BASE_URLS", "MEDIA_BASE_URL"), ("DATTA", "DATA"), ("ORIGINS_ALLOW", "ORIGIN_ALLOW")],
        *[("DATA_FILE", "DATA"), ("HOST_FILE", "HOST"), ("MASTER_KEY_FILES", "MASTER_KEY")],
    ],
)
def test_a_slip_of_the_pen_is_told_what_was_meant(name, meant):
    assert error(**{name: "x"}) == f"MEDIAVAULT_{name} is no setting of mediavault; did you mean MEDIAVAULT_{meant}?"


def test_the_test_suites_own_variables_are_left_alone():
    assert read(TEST_POSTGRES_URL="x") == read()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "media.test"])  # noqa: S104 - that they are refused
def test_a_host_that_others_reach_needs_a_media_base_url(host):
    assert "needs MEDIAVAULT_MEDIA_BASE_URL" in error(HOST=host)
    assert read(HOST=host, MEDIA_BASE_URL="https://media.test").host == host


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host):
    assert read(HOST=host).media_base_url is None


def test_a_role_needs_what_its_fellows_share():
    assert "--role api needs PostgreSQL" in error(ROLE="api")
    assert "needs MEDIAVAULT_MEDIA_BASE_URL" in error(ROLE="api", DATABASE_URL=POSTGRES)
    assert "needs MEDIAVAULT_MASTER_KEY" in error(ROLE="api", DATABASE_URL=POSTGRES, MEDIA_BASE_URL="http://m")


def test_the_role_flag_is_checked_like_the_variable():
    with pytest.raises(ConfigError, match="--role is not usable: a role is one of all, api, media, storer"):
        read_config({}, role="cook")


def test_a_relative_sqlite_url_is_relative_to_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read(DATABASE_URL="sqlite:///my.db").catalog.url == f"sqlite:///{tmp_path}/my.db"


def test_the_document_is_what_the_generator_writes():
    script = PROJECT / "scripts" / "generate_configuration.py"
    spec = importlib.util.spec_from_file_location("generate_configuration", script)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.configuration() == (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_previous_master_keys_come_beside_the_one_that_seals(tmp_path):
    other = "5b" * 32
    config = read(MASTER_KEY=KEY, PREVIOUS_MASTER_KEYS=f"{other}, {KEY}")
    assert config.previous_master_keys == (bytes.fromhex(other), bytes.fromhex(KEY))
    assert other not in repr(config)
    file = tmp_path / "keys"
    file.write_text(f"{other}\n{KEY}\n")
    assert read(MASTER_KEY=KEY, PREVIOUS_MASTER_KEYS_FILE=str(file)).previous_master_keys == config.previous_master_keys
    assert "needs MEDIAVAULT_MASTER_KEY" in error(PREVIOUS_MASTER_KEYS=other)
    assert "64 hexadecimal digits" in error(MASTER_KEY=KEY, PREVIOUS_MASTER_KEYS=other[:-1])
    assert other[:-1] not in error(MASTER_KEY=KEY, PREVIOUS_MASTER_KEYS=other[:-1])


def test_the_limits_of_thumbnails_and_their_program_are_settings():
    config = read(
        THUMBNAIL_EDGE_PIXELS="320",
        THUMBNAIL_MOST_PIXELS="1000",
        THUMBNAIL_MEMORY_BYTES="2000",
        THUMBNAIL_CPU_SECONDS="3",
        THUMBNAIL_WALL_SECONDS="4.5",
        THUMBNAIL_AT_ONCE="2",
        FFMPEG=sys.executable,
    )
    assert config.thumbnails == ThumbnailConfig(
        edge_pixels=320,
        most_pixels=1000,
        memory_bytes=2000,
        cpu_seconds=3,
        wall_seconds=4.5,
        at_once=2,
        ffmpeg=sys.executable,
    )
    assert read().thumbnails == ThumbnailConfig()


@pytest.mark.parametrize("text", ["ffmpeg", "/", "/nonexistent/ffmpeg", __file__])
def test_a_program_is_named_by_its_path_and_must_be_one(text):
    with pytest.raises(ConfigError, match="MEDIAVAULT_FFMPEG"):
        read(FFMPEG=text)
