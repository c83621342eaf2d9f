"""The commands of `xray-report`, one a file. Each imports when it is run what is slow to import: help must not wait."""
