"""The edge between MCP frameworks and the engine; the only importer of `mcp` and `fastmcp`, and only when used."""
