"""Protobuf to core types and back; core errors to gRPC status and back."""
