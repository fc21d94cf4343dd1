"""What happens around training steps: checkpoints, the clock and the progress line."""
