"""The torture of a disk: a writer that is killed at random, and the check of what it leaves."""
