"""Reads files from strangers within limits: text, XML, JSON and workbooks."""
