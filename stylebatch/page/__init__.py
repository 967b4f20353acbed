"""A page in the browser that does what the commands do, and the HTTP interface that it uses."""
