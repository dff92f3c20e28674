"""What looks like a secret is not written to the log, wherever in an entry it stands."""

import json
import subprocess
import sys

import pytest

from mediavault.telemetry import redacted


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("GET https://u:p@cdn.x/a/b?Signature=zzz failed", "GET https://cdn.x/… failed"),
        ("postgresql://vault:s3cret@127.0.0.1:5/vault", "postgresql://127.0.0.1:5/…"),
        ("postgresql://vault:s3cret@127.0.0.1:5", "postgresql://127.0.0.1:5"),
        ("ready at http://127.0.0.1:8080", "ready at http://127.0.0.1:8080"),
        ("{'apiKey': 'abcdef1234', 'Cookie': 'sess=1; a=2'}", "{'apiKey': '…', 'Cookie': '…'}"),
        ("[(b'apikey', b'sekret')]", "[(b'apikey', b'…')]"),
        ("cookie: a=b; c=d\nuser-agent: x", "cookie: …\nuser-agent: x"),
        ("X-Amz-Signature=0123&x=1", "X-Amz-Signature=…&x=1"),
        ("no key mv_abcdefghijklmnopqrstuvwxyz here", "no key mv_… here"),
        ("whsec_" + "Ab1+" * 8, "whsec_…"),
        (f"key {'5a' * 32}", "key …"),
        ("/v2/" + "Ab1" * 30, "/v2/…"),
        ("token " + "aB3_-x9Z" * 6, "token …"),
        ("media 01a20a62c8a479f08ae73caae895cfb1", "media 01a20a62c8a479f08ae73caae895cfb1"),
        ("in test_a_long_name_of_a_function_of_which_there_are_many_here", None),
        ("No space left on device: '/data/blobs/ab/cd/01a20a62c8a479f08ae73caae895cfb1'", None),
    ],
)
def test_secrets_go_and_the_rest_stays(text, written):
    assert redacted(text) == (text if written is None else written)


def test_what_was_redacted_stays_as_it_is():
    once = redacted("cookie: a=b https://a.b/c?d mv_abcdefghijklmnopqrstuvwxyz apikey=1")
    assert redacted(once) == once


SECRET = "https://cdn.example/a?Signature=canary"
PROGRAM = f"""
import asyncio, logging, sys, warnings
from mediavault.telemetry import configure_logging, logger
configure_logging("debug")
try:
    raise ValueError({SECRET!r})
except ValueError:
    logger().exception("failed", url={SECRET!r}, deep={{"list": [{SECRET!r}], "number": 1}})
    logging.getLogger("library").exception("it was %s", {SECRET!r})
warnings.warn({SECRET!r})

async def forgotten():
    async def fails():
        raise ValueError({SECRET!r})
    asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
asyncio.run(forgotten())
raise KeyError({SECRET!r})
"""


def test_no_way_to_stderr_goes_past_it():
    """The log, libraries' logs, warnings, a task that nobody awaits, and the traceback that ends the process."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    said = ended.stderr
    assert ended.returncode == 1
    assert "canary" not in said
    assert said.count("https://cdn.example/…") + said.count(r"https://cdn.example/\u2026") >= 8
    entries = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert entries[0]["event"] == "failed"
    assert entries[0]["deep"]["number"] == 1
    assert "ValueError" in entries[1]["exception"]
    assert "never retrieved" in entries[3]["event"]
    assert "KeyError" in said.splitlines()[-1]
