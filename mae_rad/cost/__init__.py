"""Cost of a pretraining before it runs: FLOPs, memory, GPU hours, loader cores."""
