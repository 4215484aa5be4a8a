//! One question to one PostgreSQL server.
