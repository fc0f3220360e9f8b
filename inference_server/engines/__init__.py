"""Engines: what turns a moment into a note. The seam is `base.py`."""
