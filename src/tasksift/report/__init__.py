"""The HTML reports: their data, and the page that shows them."""
