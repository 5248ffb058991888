"""Both chains on this machine: real signatures, real settlement, no network and no real money."""
