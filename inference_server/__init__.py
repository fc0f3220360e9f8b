"""The inference server: records in, notes and answers with evidence out. Start with `app.py`."""
