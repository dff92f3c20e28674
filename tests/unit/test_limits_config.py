"""The variables about limits: each reaches its place, and 0 is no limit."""

from pathlib import Path

import pytest

from mediavault.api.limits import LimitConfig
from mediavault.config import PREFIX, read_config
from mediavault.config.limits import LIMITS
from mediavault.domain.client_address import TrustedProxies
from mediavault.errors import ConfigError
from mediavault.serving.api_protocol import ApiPatience
from mediavault.serving.doors import DoorConfig

PROJECT = Path(__file__).parents[2]


def test_every_limit_reaches_its_place():
    settings = {name: str(number) for number, name in enumerate(LIMITS) if name != "TRUSTED_PROXIES"}
    settings |= {"TRUSTED_PROXIES": "10.0.0.0/8", "ORIGIN_CONNECTION_BYTES_PER_SECOND": "99"}
    config = read_config({PREFIX + name: text for name, text in settings.items()})
    proxies = TrustedProxies.parse("10.0.0.0/8")
    assert config.limits == LimitConfig(0, 1, 2, 3, 4, 5, 6, trusted=proxies)
    assert config.patience == ApiPatience(head_seconds=7, body_seconds=8)
    assert config.doors == DoorConfig(9, 10, proxies)
    assert config.turns.connection_bytes_per_second == 99


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("API_KEY_PER_MINUTE", "-1"),
        ("API_KEY_PER_MINUTE", "٣"),
        ("MOST_CONNECTIONS", "1e9"),
        ("TRUSTED_PROXIES", "any"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(name, text):
    with pytest.raises(ConfigError, match=PREFIX + name):
        read_config({PREFIX + name: text})


def test_the_page_about_limits_names_every_variable():
    page = (PROJECT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert not [name for name in [*LIMITS, "ORIGIN_CONNECTION_BYTES_PER_SECOND"] if PREFIX + name not in page]
