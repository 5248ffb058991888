"""A facilitator of our own: verifies x402 payments and settles them on one chain, in a process of its own."""
