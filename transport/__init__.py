"""HTTP and WebSocket on one port: decodes what comes in, asks the actors, encodes what goes out."""
