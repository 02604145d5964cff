"""A storm of kills: every program of a deployment is killed under load, again and again, and the books must balance."""
