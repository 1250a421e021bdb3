"""The workloads of a benchmark, over any store: for `lsmcli FILE benchmark`, and beside other engines."""
