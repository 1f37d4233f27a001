"""Noria's model server: one kserve.Model for safetensors, torch.export and ONNX, which loads nothing that it has not verified."""
