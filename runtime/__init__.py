"""All input and output, no decisions: event loop, clock, rpc, stores, config, command line."""
