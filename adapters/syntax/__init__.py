"""Reads files from strangers within limits: XML, JSON and workbooks."""
