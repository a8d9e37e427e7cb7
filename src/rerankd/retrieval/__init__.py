"""The first stage of retrieval: what recalls the candidates that are reranked."""
