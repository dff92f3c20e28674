"""How an origin's bytes arrive: one fill a variant, its turns, its URL and its version."""
