"""Reads and writes files safely: atomic, bounded, through no link. Follows forks."""
