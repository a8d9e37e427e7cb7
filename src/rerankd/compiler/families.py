"""Builder of the ONNX graph of each family."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd.compiler.bert_graph import BertGraph
from rerankd.compiler.graph import GraphBuilder
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture

GRAPHS: Mapping[type[Architecture], type[GraphBuilder]] = {BertArchitecture: BertGraph}
