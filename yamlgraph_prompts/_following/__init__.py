"""Follows changes of the layers and of the store."""
