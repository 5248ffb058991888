"""Payments at the edge: x402 over HTTP, facilitators, chains. Imported only where payments are on."""
