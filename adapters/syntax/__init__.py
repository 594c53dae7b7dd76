"""Reading files that a stranger wrote, within bounds: XML, JSON and workbooks."""
