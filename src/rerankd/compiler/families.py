"""Builder of the ONNX graph of each family."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd.compiler.bert_graph import BertGraph
from rerankd.compiler.deberta_graph import DebertaGraph
from rerankd.compiler.decoder_graph import DecoderGraph
from rerankd.compiler.graph import GraphBuilder
from rerankd.compiler.gte_graph import GteGraph
from rerankd.compiler.modernbert_graph import ModernBertGraph
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.families.deberta import DebertaArchitecture
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.families.gte import GteArchitecture
from rerankd.models.families.modernbert import ModernBertArchitecture

GRAPHS: Mapping[type[Architecture], type[GraphBuilder]] = {
    BertArchitecture: BertGraph,
    ModernBertArchitecture: ModernBertGraph,
    DebertaArchitecture: DebertaGraph,
    GteArchitecture: GteGraph,
    DecoderArchitecture: DecoderGraph,
}
