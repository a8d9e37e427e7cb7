"""The recipe of the bundled `mini` model: data in, checked int8 ONNX model out. Not part of the installed product."""
