"""Reading files that a stranger wrote, within bounds: text, XML, JSON and workbooks."""
