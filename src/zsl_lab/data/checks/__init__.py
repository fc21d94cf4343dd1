"""The data check of a benchmark; its findings are shown and stored, and may stop a run."""
