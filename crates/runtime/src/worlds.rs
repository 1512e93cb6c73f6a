//! The contracts that modules may implement. Each world translates between its own types and those of `wardset-core`,
//! so nothing outside this folder knows the types of a contract.

pub(crate) mod wardset;
