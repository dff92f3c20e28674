"""Durable bytes under keys: the contract, and the backends that keep it."""
