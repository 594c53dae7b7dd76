"""HTTPS: what is served with Starlette and uvicorn, requests to witnesses, and tiles. Needs the extra ``http``."""
