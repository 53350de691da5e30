"""
MGeo: the published address models, from a ModelScope checkpoint directory to answers.

`checkpoint` reads the directory, `network` writes the ONNX graph (both only when a release is built), `tokenizer` and
`decode` are the text side, `engine` runs a built release. Nothing here imports ModelScope.
"""
