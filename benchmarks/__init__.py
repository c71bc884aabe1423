"""One command for each performance bar: `python -m benchmarks.NAME [--quick]`."""
