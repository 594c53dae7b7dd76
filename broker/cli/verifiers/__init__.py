"""Small programs that an export brings along. Each hands the files to a verifier of another project."""
