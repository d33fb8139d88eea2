"""What a pretraining costs, before nodes are booked: arithmetic, memory, time, loader cores."""
