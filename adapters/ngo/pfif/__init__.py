"""People Finder Interchange Format, as XML and as CSV."""
