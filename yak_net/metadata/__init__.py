"""The metadata store on Redis, real or embedded."""
