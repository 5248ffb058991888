"""The work itself: one file for each kind of job, and ``runner`` that picks among them."""
