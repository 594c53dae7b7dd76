"""Certificate profiles, the development authority, and the commands that issue, renew and revoke."""
