"""Pays workers: ``compute-router payout``, or ``python -m compute_router.transport.payer``."""
