"""Published prompts of causal rerankers, for folders whose own files hold none."""

from __future__ import annotations

from rerankd.models.template import PromptTemplate

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"

# As the model cards of Qwen3-Reranker write it.
QWEN3_RERANKER = PromptTemplate(
    before=(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: ',
        "\n<Query>: ",
    ),
    between=("\n<Document>: ",),
    after=("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",),
    instruction=WEB_SEARCH,
)

_CHAT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
_TASK = (
    "\nYou are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n"
)

# As the package mxbai-rerank builds it: query and document are tokenized by themselves.
MXBAI_RERANK = PromptTemplate(
    before=(f"{_CHAT}instruction: ", "\nquery: "),
    between=("\ndocument: ",),
    after=(_TASK,),
    plain=(f"{_CHAT}query: ", "\ndocument: ", _TASK),
    joined=False,
)
