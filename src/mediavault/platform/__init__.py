"""The sandbox creator platform: a foreign server with real media, expiring URLs and faults on demand.

It stands in for a platform that speaks the Access API, in the demo, in tests and in benchmarks; so it imports nothing
else of mediavault, and what it knows of the vault is what any platform would: requests.

* sandbox.py: what it holds (creators, media, sessions, the clock); application.py: the ASGI application of it
* creators.py, library.py, contents.py: who lives there, what they made, and the bytes of it
* access.py: the Access API; cdn.py: the media host; control.py: faults, clock and log over HTTP
"""
