"""Commands that measure Fieldnote. Each prints its figures with the machine they were taken on; see README.md."""
