"""The live nodes and their changes: scopes, track, sampler, context. Knows the OTel API, no SDK and no database."""
