"""From images and texts to features and class semantics."""
