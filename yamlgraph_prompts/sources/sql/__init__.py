"""A layer in a database, SQLite or PostgreSQL. The drivers are imported when they are used."""

from yamlgraph_prompts.sources.sql.source import SqlSource as SqlSource
