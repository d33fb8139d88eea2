"""The benchmark of strategies of pairs: train each with the same settings, compare the encoders."""
