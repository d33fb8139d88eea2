"""What a strategy of pairs does in the batches that a run would draw: computed before any training."""
