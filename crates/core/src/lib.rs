//! The pure core of Wardset.
