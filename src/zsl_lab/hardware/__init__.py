"""What a run computes on: devices, processes and what they exchange."""
