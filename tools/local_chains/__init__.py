"""Both chains on this machine: real signatures and real settlement, without a network and without real money."""
