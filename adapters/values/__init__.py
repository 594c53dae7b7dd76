"""Values that several agencies write: alleles, measures, Chinese dates, pictures."""
