"""Tables of genotypes: GeneMapper's, a database's, and the exchange's own."""
