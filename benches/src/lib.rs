//! Measures Wardset against a webhook that does nothing.
