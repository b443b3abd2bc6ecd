"""The configuration of a small guide."""

project = "Greeting"
extensions = ["guidewalk.directives"]
