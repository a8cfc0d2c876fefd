"""portagrad beside hand-written code and other libraries, measured in one run: ``python -m benchmarks``."""
