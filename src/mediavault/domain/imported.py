"""Imported variants: bytes that came from an export and not from an origin, which nobody can ask for them again."""

#: The `origin_key` of a variant that was imported; that of an origin's URL is a digest in hexadecimal.
ORIGIN_KEY = "imported"
#: What wanted an imported variant: `explain` tells it.
REASON = "imported from an export"
#: Why a variant whose imported bytes were lost is given up.
NO_ORIGIN = "it was imported and has no origin to fetch it from: import it again"

#: Keys that stand for no origin: that of what the vault makes itself, and that of what was imported.
WITHOUT_ORIGIN = frozenset({"", ORIGIN_KEY})
