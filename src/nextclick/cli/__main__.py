from nextclick.cli import app

app()
