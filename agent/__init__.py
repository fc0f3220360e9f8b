"""The capture agent: microphone and camera in, a durable numbered stream of records out. Start with `app.py`."""
