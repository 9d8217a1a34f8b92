"""DLMS/COSEM without sockets: bytes in, bytes out. Re-exports nothing; import the module that you need."""
