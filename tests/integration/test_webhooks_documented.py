"""The code in `docs/webhooks.md` takes what a vault sends, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

from fakes.told import told_vault
from mediavault.api.event_stream import MOST_STREAMS
from mediavault.domain import event_types
from mediavault.domain.times import DAY
from mediavault.domain.webhook_signing import secret_text, signature_headers
from mediavault.storer.deliveries import DeliveryConfig
from mediavault.vault.notifying import MOST_ENDPOINTS

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
CODE: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
    exec(compile(block, "docs/webhooks.md", "exec"), CODE)  # noqa: S102 - our own page
NAMES = ("is_from_vault", "is_from_vault_older")
NEW, OLD, STRANGE = (secret_text(bytes([number]) * 32) for number in (1, 2, 3))
BODY = b'{"eventType":"webhook.test","live":false,"data":{}}'


def headers(timestamp: int, *secrets: str) -> dict[str, str]:
    return {name.lower(): value for name, value in signature_headers(secrets, "evt_1", timestamp, BODY).items()}


@pytest.mark.parametrize("name", NAMES)
async def test_the_documented_code_takes_a_delivery_of_a_running_vault(tmp_path: Path, name: str):
    async with told_vault(tmp_path) as told:
        endpoint = await told.endpoint()
        await told.test(endpoint["id"])
        (received,) = await told.receiver.until(1)
    assert CODE[name](endpoint["secret"], received.headers, received.body)
    assert not CODE[name](endpoint["secret"], received.headers, received.body + b" ")
    assert not CODE[name](STRANGE, received.headers, received.body)


@pytest.mark.parametrize("name", NAMES)
def test_while_a_secret_rotates_either_one_will_do(name: str):
    now = int(CODE["time"].time())
    for secret in (NEW, OLD):
        assert CODE[name](secret, headers(now, NEW, OLD), BODY)
    assert not CODE[name](STRANGE, headers(now, NEW, OLD), BODY)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("age_seconds", [301, -301])
def test_a_delivery_that_was_recorded_and_played_again_is_refused(name: str, age_seconds: int):
    assert not CODE[name](NEW, headers(int(CODE["time"].time()) - age_seconds, NEW), BODY)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        *(("is_from_vault", header) for header in ("webhook-signature", "webhook-timestamp", "webhook-id")),
        ("is_from_vault_older", "ofauth-signature"),
    ],
)
def test_headers_that_are_no_signature_or_missing_are_refused(name: str, header: str):
    given = headers(int(CODE["time"].time()), NEW)
    for text in ("", "v1", "t=,v1=", "t=\u00b2,v1=\u00e9", "v1,\u00e9", "9" * 5_000, f"t={'9' * 5_000}", "\u00b2"):
        assert not CODE[name](NEW, given | {header: text}, BODY), text
    assert not CODE[name](NEW, {other: text for other, text in given.items() if other != header}, BODY)


def test_the_page_says_what_the_defaults_are():
    config = DeliveryConfig()
    text = " ".join(PAGE.split())
    for stated in (
        f"tried {config.tries} times",
        f"within {config.timeout_seconds} seconds",
        f"made {config.ahead.pending:,} ahead, counting at most {config.ahead.share} of each",
        f"behind {config.ahead.in_all:,} deliveries",
        f"for {config.kept_ms // DAY} days",
        f"at most {MOST_ENDPOINTS} endpoints",
        f"at most {MOST_STREAMS} streams",
        "about "
        + " and ".join(
            ", ".join(f"{config.first_delay_ms // 1000 * 4**n} s" for n in range(config.tries - 1)).rsplit(", ", 1)
        ),
    ):
        assert stated in text, stated
    default_types = text[text.index("Without `eventTypes`") : text.index("with a list")]
    assert set(re.findall(r"`([a-z]+\.[a-z.]+)`", default_types)) == event_types.BY_DEFAULT
