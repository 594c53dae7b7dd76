"""HTTPS: what is served with Starlette and uvicorn, and requests to witnesses. Needs the extra ``http``."""
