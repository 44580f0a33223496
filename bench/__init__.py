"""What nodeipam costs, beside a peer or the least that anyone must do; each prints ratios of one run."""
