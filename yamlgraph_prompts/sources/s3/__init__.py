"""Layers in S3 and on servers that speak its protocol."""

from yamlgraph_prompts.sources.s3.source import S3Source

__all__ = ["S3Source"]
