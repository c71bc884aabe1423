"""What a request passes first: tokens, sessions, sizes and times."""
