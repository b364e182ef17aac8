"""What the library costs and what it loses, measured; each module runs as `python -m tests.benchmarks.NAME`."""
