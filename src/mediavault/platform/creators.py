"""The creators who live in the sandbox, and the sessions they are signed in with."""

import msgspec

#: Any user agent will do; the demo and the tests send this one.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) SandboxBrowser/1.0"


class Creator(msgspec.Struct, frozen=True, rename="camel"):
    """An account of the platform."""

    id: int
    username: str
    name: str
    about: str

    @property
    def session(self) -> str:
        """The session token; it never changes, so that examples can print it."""
        return f"sandbox-{self.username}"

    @property
    def cookie(self) -> str:
        """The value of the `cookie` header that signs this creator in."""
        return f"sess={self.session}"


_CREATORS = (
    Creator(41001, "aurora", "Aurora Vale", "Northern lights over quiet mountains"),
    Creator(41002, "coral", "Coral Bay", "Evenings by the sea"),
    Creator(41003, "juniper", "Juniper Woods", "Mist, hills and conifers"),
)


def creators() -> tuple[Creator, ...]:
    """Every creator of the sandbox, each with `cookie`, the header value that signs them in."""
    return _CREATORS


def session_of(cookie: str) -> str | None:
    """The session token in a `cookie` header, or None."""
    for pair in cookie.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == "sess" and value:
            return value
    return None
