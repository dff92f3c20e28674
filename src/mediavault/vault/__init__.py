"""What the vault does, one verb a module. The API, the media host and the storer act through these."""
