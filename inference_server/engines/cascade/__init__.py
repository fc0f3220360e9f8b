"""The embedded engine: small models on the CPU for speech and for text in frames. It invents nothing."""
