"""The notice board: a static web site of the notices in force."""
