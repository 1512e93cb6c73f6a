//! The world of `wit/policy.wit`.

use wardset_core::gate::Gate;
use wardset_core::manifest::ManifestParts;
use wardset_core::placement::{BlastRadius, NodeCounts};
use wardset_core::review::{Operation, Review};
use wardset_core::text;
use wardset_core::verdict::{Change, Denial, DenialCode, Edit, MAX_TEXT, Note, Verdict, Warning};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Func, HasSelf, InstancePre, Linker};

use self::contract::wardset::policy::{document, log, placement, types as wit};
use self::contract::{Typed, TypedIndices};
use crate::host::{Host, Level};
use crate::load_error::{CONTRACT, LoadError, is_compatible};

mod growing;

/// The generated bindings. They leave out the types that may gain cases: see [`growing`].
mod contract {
    wasmtime::component::bindgen!({
        inline: "
            package wardset:host;

            world typed {
                use wardset:policy/types@0.1.1.{request, verdict};
                import wardset:policy/document@0.1.1;
                import wardset:policy/placement@0.1.1;
                import wardset:policy/log@0.1.1;
                export validate-settings: func(settings: string) -> result<_, string>;
                export evaluate: func(request: request, settings: string) -> result<verdict, string>;
            }
        ",
        path: "../../wit",
        world: "wardset:host/typed",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// A linked module, whose imports and exports have the contract's types.
pub(crate) struct Guest {
    linked: InstancePre<Host>,
    typed: TypedIndices,
    manifest: ComponentExportIndex,
}

/// A running instance of a module.
pub(crate) struct Instance {
    typed: Typed,
    manifest: Func,
}

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    Typed::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    growing::add_to_linker(linker)
}

impl Guest {
    /// Links a component with the host's functions.
    ///
    /// # Errors
    ///
    /// An import that no policy gets, an incompatible version of the contract, or an export that is missing or has another
    /// type.
    pub(crate) fn link(linker: &Linker<Host>, component: &Component) -> Result<Self, LoadError> {
        for (name, _) in component.component_type().imports(component.engine()) {
            let Some(rest) = name.strip_prefix(CONTRACT) else {
                return Err(LoadError::Import { import: name.to_owned() });
            };
            match rest.split_once('@') {
                Some((_, version)) if is_compatible(version) => {}
                _ => return Err(LoadError::Version { found: name.to_owned() }),
            }
        }
        let linked = linker.instantiate_pre(component).map_err(LoadError::World)?;
        let typed = TypedIndices::new(&linked).map_err(LoadError::World)?;
        let manifest = growing::find_manifest(component).map_err(LoadError::World)?;
        Ok(Self { linked, typed, manifest })
    }

    pub(crate) async fn start(&self, store: &mut Store<Host>) -> wasmtime::Result<Instance> {
        let instance = self.linked.instantiate_async(&mut *store).await?;
        let typed = self.typed.load(&mut *store, &instance)?;
        let manifest = instance.get_func(&mut *store, self.manifest);
        let manifest =
            manifest.ok_or_else(|| wasmtime::Error::msg("expected an exported function `manifest`"))?;
        Ok(Instance { typed, manifest })
    }
}

impl Instance {
    pub(crate) async fn manifest(&self, store: &mut Store<Host>) -> wasmtime::Result<ManifestParts> {
        growing::manifest(self.manifest, store).await
    }

    /// Returns the module's own message if it rejects the settings.
    pub(crate) async fn validate_settings(
        &self,
        store: &mut Store<Host>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.typed.call_validate_settings(store, settings).await
    }

    /// Returns the module's own message if it declines to decide.
    pub(crate) async fn evaluate(
        &self,
        store: &mut Store<Host>,
        review: &Review,
        gate: Gate,
        settings: &str,
    ) -> wasmtime::Result<Result<Verdict, String>> {
        let answer = self.typed.call_evaluate(store, &request(review, gate), settings).await?;
        Ok(answer.map(Into::into))
    }
}

fn request(review: &Review, gate: Gate) -> wit::Request {
    wit::Request {
        operation: match review.operation {
            Operation::Create => wit::Operation::Create,
            Operation::Update => wit::Operation::Update,
        },
        kind: review.kind.clone(),
        name: review.name.clone(),
        namespace: review.namespace.clone(),
        user: review.user.clone(),
        dry_run: review.dry_run,
        template: match gate {
            Gate::Open => wit::TemplateGate::Open,
            Gate::Closed => wit::TemplateGate::Closed,
        },
    }
}

impl wit::Host for Host {}

impl document::Host for Host {
    fn object(&mut self, pointer: String) -> wasmtime::Result<Option<String>> {
        Ok(Self::object(self, &pointer)?.map(str::to_owned))
    }

    fn old_object(&mut self, pointer: String) -> wasmtime::Result<Option<String>> {
        Ok(Self::old_object(self, &pointer)?.map(str::to_owned))
    }
}

impl placement::Host for Host {
    fn object(&mut self, edits: Vec<wit::Edit>) -> wasmtime::Result<Option<placement::NodeCounts>> {
        let edits = edits.into_iter().map(Into::into).collect();
        Ok(self.node_counts(edits)?.map(Into::into))
    }

    fn old_object(&mut self) -> wasmtime::Result<Option<placement::NodeCounts>> {
        Ok(self.old_node_counts()?.map(Into::into))
    }

    fn effect(&mut self) -> wasmtime::Result<Option<placement::PodEffect>> {
        Ok(self.pod_effect()?.map(Into::into))
    }
}

impl log::Host for Host {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            wit::Level::Debug => Level::Debug,
            wit::Level::Info => Level::Info,
            wit::Level::Warn => Level::Warn,
            wit::Level::Error => Level::Error,
        };
        Ok(self.log(level, &message)?)
    }
}

/// Maximum number of reasons in one answer to a guest.
const MAX_REFUSALS: usize = 16;

impl From<NodeCounts> for placement::NodeCounts {
    fn from(counts: NodeCounts) -> Self {
        let refusals = counts.refusals.into_iter().take(MAX_REFUSALS).map(|refusal| placement::Refusal {
            nodes: number(refusal.nodes),
            reason: text::one_line(&refusal.reason, MAX_TEXT),
        });
        Self { nodes: number(counts.nodes), runs: number(counts.runs), refusals: refusals.collect() }
    }
}

impl From<BlastRadius> for placement::PodEffect {
    fn from(radius: BlastRadius) -> Self {
        Self {
            gained: number(radius.gained),
            lost: number(radius.lost),
            created: number(radius.created),
            deleted: number(radius.deleted),
            restarted: number(radius.restarted + radius.replaced_at_once),
            obstacle: radius.obstacle.map(|obstacle| obstacle.sentence()),
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl From<wit::Verdict> for Verdict {
    fn from(verdict: wit::Verdict) -> Self {
        Self {
            denials: verdict.denials.into_iter().map(Into::into).collect(),
            changes: verdict.changes.into_iter().map(Into::into).collect(),
            warnings: verdict.warnings.into_iter().map(Into::into).collect(),
            notes: verdict.notes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wit::Denial> for Denial {
    fn from(denial: wit::Denial) -> Self {
        let wit::Denial { code, pointer, message, fix } = denial;
        let code = match code {
            wit::DenialCode::Forbidden => DenialCode::Forbidden,
            wit::DenialCode::Invalid => DenialCode::Invalid,
        };
        Self { code, pointer, message, fix }
    }
}

impl From<wit::Change> for Change {
    fn from(change: wit::Change) -> Self {
        Self { edit: change.edit.into(), reason: change.reason }
    }
}

impl From<wit::Edit> for Edit {
    fn from(edit: wit::Edit) -> Self {
        match edit {
            wit::Edit::Add(wit::Placed { path, value }) => Self::Add { path, value },
            wit::Edit::Replace(wit::Placed { path, value }) => Self::Replace { path, value },
            wit::Edit::Remove(path) => Self::Remove { path },
        }
    }
}

impl From<wit::Note> for Note {
    fn from(note: wit::Note) -> Self {
        let wit::Note { pointer, message } = note;
        Self { pointer, message }
    }
}

impl From<wit::Warning> for Warning {
    fn from(warning: wit::Warning) -> Self {
        let wit::Warning { pointer, message } = warning;
        Self { pointer, message }
    }
}
