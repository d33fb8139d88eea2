"""Shards of radiographs → self-supervised encoders, embeddings and their comparison."""
