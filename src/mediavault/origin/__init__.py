"""The outside: origins that hold media, upstreams that speak the Access API. The only room that dials."""
