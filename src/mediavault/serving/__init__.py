"""The media host: bytes over signed URLs, on an origin of its own without cookies and without an API."""
