"""Which films belong together: partners, relations and the composition of batches, and the columns that they read.

A strategy is (partner, relation, batches), in one YAML file of ``configs/pairs``: see ``settings.py``.
"""
