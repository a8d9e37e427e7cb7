"""rerankd inside retrieval frameworks, one module each: `langchain`, `llamaindex` and `haystack`.

Each needs its extra, as in `pip install "rerankd[langchain]"`, and takes a local `Reranker` or a remote `Client`.
"""
