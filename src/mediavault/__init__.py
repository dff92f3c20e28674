"""mediavault: a self-hosted media vault with the Vault+ API."""

__version__ = "0.1.0"
