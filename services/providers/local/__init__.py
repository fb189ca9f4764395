"""The model on this machine: llama.cpp in child processes, behind one HTTP address in OpenAI's dialect."""
