"""The coordinator's brain: six actors, the pure decisions they carry out, and their wiring."""
