"""An HTTP server in the forms of OpenAI, llama-server and Anthropic, on one engine thread."""
