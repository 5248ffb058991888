"""The coordinator's brain: five actors, the pure decisions they carry out, and their wiring."""
