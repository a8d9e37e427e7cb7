"""Rules by which a company corrects the model: boost, bury, pin, filter, synonyms."""
