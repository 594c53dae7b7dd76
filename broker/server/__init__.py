"""Interceptors and servicers: unpack, call one service, pack."""
