"""Trained models for others: a folder without pickle, the Hugging Face Hub, ONNX."""
