"""The signed Merkle tree over a partition: leaves, checkpoints, cosignatures and tiles."""
