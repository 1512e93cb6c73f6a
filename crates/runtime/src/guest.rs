//! A module's entry points: found and checked when it is loaded, so that an evaluation pays for the one that it calls.

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre, TypedFunc};

use crate::contract::{WorldPre, wit};
use crate::engine::Pool;
use crate::host::Host;

/// The contract's `evaluate`.
type Evaluate<'a> = TypedFunc<(&'a wit::Request, &'a str), (Result<wit::Verdict, String>,)>;

/// A linked module that fits the contract, in each pool.
pub(crate) struct Guests(Vec<Guest>);

impl Guests {
    /// Of the module's code in each pool, in their order.
    ///
    /// # Errors
    ///
    /// Imports or exports of another type than the world's.
    pub(crate) fn new(pools: &[Pool], components: &[Component]) -> wasmtime::Result<Self> {
        let guest = |(pool, component): (&Pool, _)| Guest::new(pool.linker.instantiate_pre(component)?);
        pools.iter().zip(components).map(guest).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, pool: &Pool) -> &Guest {
        &self.0[pool.index]
    }
}

/// The module in one pool.
pub(crate) struct Guest {
    linked: InstancePre<Host>,
    manifest: ComponentExportIndex,
    validate_settings: ComponentExportIndex,
    evaluate: ComponentExportIndex,
}

impl Guest {
    /// # Errors
    ///
    /// An export of the world that is missing or has another type.
    fn new(linked: InstancePre<Host>) -> wasmtime::Result<Self> {
        WorldPre::new(linked.clone())?;
        let export = |name| {
            let found = linked.component().get_export_index(None, name);
            found.ok_or_else(|| wasmtime::format_err!("there is no export `{name}`"))
        };
        let manifest = export("manifest")?;
        let validate_settings = export("validate-settings")?;
        let evaluate = export("evaluate")?;
        Ok(Self { linked, manifest, validate_settings, evaluate })
    }

    pub(crate) async fn start(&self, store: &mut Store<Host>) -> wasmtime::Result<Instance> {
        self.linked.instantiate_async(store).await
    }

    pub(crate) async fn manifest(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
    ) -> wasmtime::Result<wit::Manifest> {
        let function = instance.get_typed_func::<(), (wit::Manifest,)>(&mut *store, &self.manifest)?;
        Ok(function.call_async(store, ()).await?.0)
    }

    pub(crate) async fn validate_settings(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        let function = instance
            .get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, &self.validate_settings)?;
        Ok(function.call_async(store, (settings,)).await?.0)
    }

    pub(crate) async fn evaluate(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        request: &wit::Request,
        settings: &str,
    ) -> wasmtime::Result<Result<wit::Verdict, String>> {
        let function = self.evaluation(store, instance)?;
        Ok(function.call_async(store, (request, settings)).await?.0)
    }

    /// `evaluate` of an instance that [`Guest::start`] made.
    fn evaluation<'a>(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Evaluate<'a>> {
        let function = instance.get_func(store, self.evaluate);
        let function = function.ok_or_else(|| wasmtime::format_err!("there is no export `evaluate`"))?;
        // SAFETY: `new_unchecked` asks that the function has just these parameters and results. `self.evaluate` names an export
        // of the component that `self.linked` was made of, and wasmtime finds it in instances of that very component only. Of
        // that component's exports, `Guest::new` had wasmtime's own bindings compare the types with these very Rust types.
        #[expect(unsafe_code, reason = "a review's time; the proof is above")]
        let function = unsafe { Evaluate::new_unchecked(function) };
        Ok(function)
    }
}
