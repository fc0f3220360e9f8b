"""The store: SQLite (WAL) for what is known, plain files for what is heard and seen.

`schema.py` opens it, `ingest.py` takes records in, `jobs.py` keeps the work and its outcomes, `library.py`
reads it all back. Everything here is synchronous; the shells call it from worker threads.
"""
