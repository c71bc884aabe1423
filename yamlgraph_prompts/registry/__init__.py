"""Releases, and which of them was live when: on disk, in memory, in a bucket."""
