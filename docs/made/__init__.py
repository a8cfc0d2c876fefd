"""What the pages and figures that follow from the code are made by."""
