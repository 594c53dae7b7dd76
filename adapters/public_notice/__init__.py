"""What the public may see about a child: CAP 1.2 alerts, Atom feeds, and the notice board, a static web site."""
