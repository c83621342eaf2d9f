"""The same archive behind other servers, as their users would put it there."""
