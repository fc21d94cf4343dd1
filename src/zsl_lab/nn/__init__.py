"""Networks and losses that methods share."""
