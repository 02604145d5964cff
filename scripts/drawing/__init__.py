"""The drawn parts of the documentation: each is made from the code that it describes, and a test holds it to it."""
