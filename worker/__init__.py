"""The worker: connects a machine to a coordinator, runs the jobs it is given and signs receipts for them."""
