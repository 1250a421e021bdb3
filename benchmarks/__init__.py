"""Benchmarks beside other tools, each in one run of interleaved rounds."""
