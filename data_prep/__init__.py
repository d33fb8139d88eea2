"""Convert archives of radiographs to de-identified WebDataset shards; imports no torch."""
