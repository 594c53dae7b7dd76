"""CODIS CMF, as XML and as the lines of version 1.0."""
