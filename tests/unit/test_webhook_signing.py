"""Webhook signatures, held against the two verifiers that receivers use."""

import hashlib
import hmac
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from mediavault.domain.webhook_signing import secret_text, signature_headers, signing_key

with warnings.catch_warnings():  # the published package has an escape that Python warns of
    warnings.simplefilter("ignore")
    from onlyfans_sdk import webhooks as published

KEYS = st.binary(min_size=24, max_size=64)


@given(KEYS, st.text())
def test_both_verifiers_take_what_is_signed(key, text):
    secret, body = secret_text(key), b'{"eventType":"' + text.encode("utf-8", "replace") + b'"}'
    headers = signature_headers([secret], "evt_1", int(time.time()), body)
    Webhook(secret).verify(body, headers, json_parse=False)
    assert published.verify_webhook_signature(body.decode(), headers, secret)


def test_the_older_signature_is_keyed_with_the_secrets_text():
    secret = secret_text(b"k" * 32)
    expected = hmac.new(secret.encode(), b"5.{}", hashlib.sha256).hexdigest()
    assert signature_headers([secret], "evt_1", 5, b"{}")["OFAuth-Signature"] == f"t=5,v1={expected}"


def test_while_a_secret_is_rotated_either_verifies():
    old, new, body = secret_text(b"o" * 32), secret_text(b"n" * 32), b"{}"
    headers = signature_headers([new, old], "evt_1", int(time.time()), body)
    for secret in (old, new):
        Webhook(secret).verify(body, headers)
        assert published.verify_webhook_signature("{}", headers, secret)
    with pytest.raises(published.WebhookVerificationError):
        published.verify_webhook_signature("{}", headers, secret_text(b"x" * 32))


@pytest.mark.parametrize("text", ["whsec_!", "whsec_abc"])
def test_what_is_no_secret_is_refused(text):
    with pytest.raises(ValueError, match="whsec_"):
        signing_key(text)
