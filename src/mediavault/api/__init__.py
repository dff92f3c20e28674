"""The API: the contract over JSON. It acts only through the vault's verbs."""
