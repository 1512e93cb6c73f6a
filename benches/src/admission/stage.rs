//! Configures one variant at a time, and shows that it stores the same object as the others with its rules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use super::api_server::ApiServer;
use super::objects::{entries, samples, sorted, stored};
use super::variant::{Variant, Webhooks};
use crate::cores::cpu_time;

/// How long a new configuration may take until it is active. The API server compiles policies once a second.
const ACTIVE: Duration = Duration::from_secs(30);

/// How long to wait between two dry runs.
const POLL: Duration = Duration::from_millis(20);

/// An API server with the configuration of one variant.
pub struct Stage {
    /// The API server.
    pub api: ApiServer,
    /// The servers of the variants.
    pub webhooks: Webhooks,
    samples: Vec<(&'static str, Value)>,
    /// The stored form of each sample, by the number of rules.
    expected: BTreeMap<usize, Vec<Value>>,
    current: Variant,
    /// Activations of several MutatingAdmissionPolicies, and those that stored a list in another order.
    pub orders: Orders,
}

/// The order in which MutatingAdmissionPolicies changed lists.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Orders {
    /// Activations of five or ten MutatingAdmissionPolicies.
    pub activations: usize,
    /// Those after which a list was in another order than the rules are.
    pub differ: usize,
}

impl Stage {
    /// Takes over an API server without any configuration, and records the objects that it stores by itself.
    ///
    /// # Errors
    ///
    /// The API server refuses a sample.
    pub async fn new(api: ApiServer, webhooks: Webhooks) -> Result<Self> {
        api.create_namespace().await?;
        let mut stage = Self {
            api,
            webhooks,
            samples: samples(),
            expected: BTreeMap::new(),
            current: Variant::Nothing,
            orders: Orders::default(),
        };
        let plain = stage.found().await?;
        stage.expected.insert(0, plain);
        Ok(stage)
    }

    /// Activates each variant once. Wardset's objects are the expected ones. They must have one more entry for each
    /// rule, and MutatingAdmissionPolicies with the same rules must store the same.
    ///
    /// # Errors
    ///
    /// Two variants store different objects.
    pub async fn verify(&mut self) -> Result<()> {
        for n in [1, 5, 10] {
            self.leave().await?;
            self.configure(Variant::Wardset(n)).await?;
            let expected = self.wait_for_change().await?;
            let (plain, with_rules) = (entries(&self.expected[&0][0]), entries(&expected[0]));
            ensure!(with_rules == plain + n, "expected {n} more entries than {plain}, found {with_rules}");
            self.expected.insert(n, expected);
        }
        for variant in Variant::ALL {
            self.enter(variant).await?;
        }
        self.enter(Variant::Nothing).await
    }

    /// The number of objects on which the variants agree.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.samples.len()
    }

    /// Ends the current variant and activates another. Returns when each sample is stored as expected.
    ///
    /// # Errors
    ///
    /// The API server refuses the configuration, or a sample is stored in another form.
    pub async fn enter(&mut self, variant: Variant) -> Result<()> {
        self.leave().await?;
        self.configure(variant).await?;
        self.wait_until_expected(variant).await?;
        if let Some(server) = self.webhooks.server(variant) {
            // The webhook that answers yes leaves no trace in the object.
            let start = Instant::now();
            loop {
                let before = cpu_time(server.process())?;
                self.api.dry_run(&self.samples[0].1).await?;
                if cpu_time(server.process())? > before {
                    break;
                }
                ensure!(start.elapsed() < ACTIVE, "{}: the API server does not call it", variant.label());
            }
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<()> {
        for (resource, name, _) in self.webhooks.configuration(self.current) {
            self.api.deregister(resource, &name).await?;
        }
        self.current = Variant::Nothing;
        self.wait_until_expected(Variant::Nothing).await
    }

    async fn configure(&mut self, variant: Variant) -> Result<()> {
        for (resource, name, object) in self.webhooks.configuration(variant) {
            self.api.register(resource, &object).await.with_context(|| format!("{resource} `{name}`"))?;
        }
        self.current = variant;
        Ok(())
    }

    /// Waits until the first sample is stored in another form than without rules, and returns all of them.
    async fn wait_for_change(&self) -> Result<Vec<Value>> {
        let start = Instant::now();
        loop {
            let found = self.found().await?;
            if found[0] != self.expected[&0][0] {
                return Ok(found);
            }
            ensure!(start.elapsed() < ACTIVE, "{}: it changes nothing", self.current.label());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until each sample is stored as expected. A new API server answers with errors for a moment, because it has
    /// not read its own schemas.
    async fn wait_until_expected(&mut self, variant: Variant) -> Result<()> {
        let start = Instant::now();
        loop {
            let problem = match self.found().await {
                Ok(found) => match self.difference(variant, &found) {
                    None => {
                        if matches!(variant, Variant::Policies(5 | 10)) {
                            self.orders.activations += 1;
                            self.orders.differ += usize::from(found != self.expected[&variant.rules()]);
                        }
                        return Ok(());
                    }
                    Some(difference) => anyhow!(difference),
                },
                Err(error) => error,
            };
            if start.elapsed() > ACTIVE {
                return Err(problem.context(variant.label()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Describes the first sample that is stored in another form than expected, the order of lists aside.
    fn difference(&self, variant: Variant, found: &[Value]) -> Option<String> {
        let all = self.samples.iter().zip(&self.expected[&variant.rules()]).zip(found);
        let mut different =
            all.filter(|((_, expected), found)| sorted((*expected).clone()) != sorted((*found).clone()));
        let (((name, _), expected), found) = different.next()?;
        Some(format!("DaemonSet {name}: expected {expected}, found {found}"))
    }

    async fn found(&self) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for (name, sample) in &self.samples {
            let answer = self.api.dry_run(sample).await.with_context(|| format!("DaemonSet {name}"))?;
            found.push(stored(answer));
        }
        Ok(found)
    }
}
