"""Durable state: jobs, trust pairings and receipts, behind one interface."""
