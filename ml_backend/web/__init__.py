"""HTTP: the Flask app, its routes and pages. Knows no torch and no Label Studio SDK."""
