"""Extraction of features from images, and of class semantics from texts."""
