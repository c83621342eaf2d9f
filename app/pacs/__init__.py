"""`xray-report pacs`: studies of a PACS are reported on, and the reports stored beside them."""
