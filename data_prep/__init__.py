"""Archive of radiographs → de-identified WebDataset shards. Never imports torch."""
