"""Builder of the ONNX graph of each family."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd.compiler.bert_graph import BertGraph
from rerankd.compiler.decoder_graph import DecoderGraph
from rerankd.compiler.graph import GraphBuilder
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.families.decoder import DecoderArchitecture

GRAPHS: Mapping[type[Architecture], type[GraphBuilder]] = {
    BertArchitecture: BertGraph,
    DecoderArchitecture: DecoderGraph,
}
