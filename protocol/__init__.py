"""What seekers, coordinators and workers share: types, wire messages, prices, receipts and errors."""
