"""Who calls: the same answer for tool calls and for our own pages.

`reading` takes a caller out of a request without asking anybody, `tokens` and `keyring` verify JWTs, `resolving` asks
the author's `identify=` and is where a page asks (`caller_of_request`), `anonymous` counts callers who show nothing.
Imports nothing here, because every module that decorates tools passes by.
"""
