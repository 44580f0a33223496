"""The parts, one by one and without an API server: `python -m bench.micro`."""
