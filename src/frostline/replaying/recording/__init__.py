"""Recording: what a prefix gives for every sample, under which key, and at what cost."""
