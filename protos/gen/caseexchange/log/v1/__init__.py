"""Generated from the .proto files by protos/generate.py."""
