"""The page for prompt authors: HTML around the admin API. It does nothing that the API cannot."""
