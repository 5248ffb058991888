"""What the actors tell each other, a file for each receiver.

All messages are frozen; no message carries anything mutable.
"""
