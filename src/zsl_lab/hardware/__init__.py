"""Devices and processes of a run, and the communication between processes."""
