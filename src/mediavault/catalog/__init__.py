"""The catalog: everything the vault knows, on SQLite or PostgreSQL. The only room with SQL in it."""
