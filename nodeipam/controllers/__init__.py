"""Node IPAM itself: from Nodes and ClusterCIDRs to `spec.podCIDRs`, on :mod:`nodeipam.runtime`."""
