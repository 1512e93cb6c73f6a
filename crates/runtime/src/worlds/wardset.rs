//! The world of `wit/policy.wit`.

use wardset_core::gate::Gate;
use wardset_core::manifest::ManifestParts;
use wardset_core::policy::ClusterData;
use wardset_core::review::{Operation, Review};
use wardset_core::verdict::{Change, Denial, DenialCode, Edit, Note, Verdict, Warning};
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker};

use self::contract::wardset::policy::{cluster, document, log, types as wit};
use self::contract::{Policy, PolicyPre};
use crate::host::{Host, Level};
use crate::load_error::{CONTRACT, CONTRACT_VERSION, LoadError};

/// The generated bindings.
mod contract {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// A linked module, whose imports and exports have the contract's types.
pub(crate) struct Guest(PolicyPre<Host>);

/// A running instance of a module.
pub(crate) struct Instance(Policy);

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    Policy::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

impl Guest {
    /// Links a component with the host's functions.
    ///
    /// # Errors
    ///
    /// An import that no policy gets, another version of the contract, or an export that is missing or has another
    /// type.
    pub(crate) fn link(linker: &Linker<Host>, component: &Component) -> Result<Self, LoadError> {
        for (name, _) in component.component_type().imports(component.engine()) {
            let Some(rest) = name.strip_prefix(CONTRACT) else {
                return Err(LoadError::Import { import: name.to_owned() });
            };
            match rest.split_once('@') {
                Some((_, CONTRACT_VERSION)) => {}
                _ => return Err(LoadError::Version { found: name.to_owned() }),
            }
        }
        let linked = linker.instantiate_pre(component).and_then(PolicyPre::new);
        linked.map(Self).map_err(LoadError::World)
    }

    pub(crate) async fn start(&self, store: &mut Store<Host>) -> wasmtime::Result<Instance> {
        self.0.instantiate_async(store).await.map(Instance)
    }
}

impl Instance {
    pub(crate) async fn manifest(&self, store: &mut Store<Host>) -> wasmtime::Result<ManifestParts> {
        self.0.call_manifest(store).await.map(Into::into)
    }

    /// Returns the module's own message if it rejects the settings.
    pub(crate) async fn validate_settings(
        &self,
        store: &mut Store<Host>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.0.call_validate_settings(store, settings).await
    }

    /// Returns the module's own message if it declines to decide.
    pub(crate) async fn evaluate(
        &self,
        store: &mut Store<Host>,
        review: &Review,
        gate: Gate,
        settings: &str,
    ) -> wasmtime::Result<Result<Verdict, String>> {
        let answer = self.0.call_evaluate(store, &request(review, gate), settings).await?;
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

impl cluster::Host for Host {
    fn data(&mut self, what: wit::ClusterData) -> wasmtime::Result<Option<String>> {
        Ok(self.cluster_data(what.into())?.map(str::to_owned))
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

impl From<wit::ClusterData> for ClusterData {
    fn from(data: wit::ClusterData) -> Self {
        match data {
            wit::ClusterData::NamespaceLabels => Self::NamespaceLabels,
        }
    }
}

impl From<wit::Manifest> for ManifestParts {
    fn from(stated: wit::Manifest) -> Self {
        Self {
            name: stated.name,
            version: stated.version,
            description: stated.description,
            reads: stated.reads,
            writes: stated.writes,
            cluster: stated.cluster.into_iter().map(Into::into).collect(),
            settings_schema: stated.settings_schema,
        }
    }
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
        let edit = match change.edit {
            wit::Edit::Add(wit::Placed { path, value }) => Edit::Add { path, value },
            wit::Edit::Replace(wit::Placed { path, value }) => Edit::Replace { path, value },
            wit::Edit::Remove(path) => Edit::Remove { path },
        };
        Self { edit, reason: change.reason }
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
