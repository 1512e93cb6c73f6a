//! The contract of `wit/`, as wasmtime's bindings.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "policy",
    imports: { default: trappable },
    exports: { default: async },
});

/// The names of the contract, out of the way of the house's own.
pub(crate) use wardset::policy::types as wit;
pub(crate) use {Policy as World, PolicyPre as WorldPre};
