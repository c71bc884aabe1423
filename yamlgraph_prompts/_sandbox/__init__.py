"""The guarded Jinja and `str.format` that all that a prompt author writes runs in."""
