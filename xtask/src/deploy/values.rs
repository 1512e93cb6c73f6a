//! Values that the chart must refuse, and values that must show in the rendered objects.

use super::helm::Helm;

/// Arguments of Helm, and a part of its expected message.
const REFUSED: &[(&[&str], &str)] = &[
    (&["--set=replica=3"], "replica"),
    (&["--set=replicas=many"], "/replicas"),
    (&["--set=name=Wardset"], "/name"),
    (&["--set=image.digest=latest"], "/image/digest"),
    (&["--set=webhooks.failurePolicy=Warn"], "/webhooks/failurePolicy"),
    (&["--set=webhooks.timeoutSeconds=31"], "/webhooks/timeoutSeconds"),
    (&["--set=webhooks.clientConfigUrl=http://192.0.2.1"], "/webhooks/clientConfigUrl"),
    (&["--set=certificates.existingSecret=mine"], "/certificates/caBundle"),
    (&["--set=certificates.caBundle=QQ=="], "/webhooks/clientConfigUrl"),
    (
        &[
            "--set=certificates.existingSecret=mine,certificates.caBundle=QQ==,certificates.certManager.enabled=true",
        ],
        "/certificates/certManager/enabled",
    ),
    (&["--set=certificates.certManager.issuerRef.kind=ClusterIssuer"], "/certificates/certManager/issuerRef"),
    (&["--set=registries.pullSecrets={Modules}"], "/registries/pullSecrets/0"),
    (&["--set=registries.pullSecrets={a,a}"], "/registries/pullSecrets"),
    (&["--set=registries.ca.configMap=a,registries.ca.secret=b"], "/registries/ca/secret"),
    (&["--set=registries.tagIntervalSeconds=5"], "/registries/tagIntervalSeconds"),
    (&["--set=registries.allow={https://r@x}"], "/registries/allow/0"),
    (&["--namespace=kube-system"], "can't be in kube-system"),
];

/// Arguments of Helm, lines that must come out, and lines that must not.
const RENDERED: &[(&[&str], &[&str], &[&str])] = &[
    (
        &["--set=certificates.certManager.enabled=true"],
        &[
            "kind: Issuer",
            "kind: Certificate",
            "cert-manager.io/inject-ca-from: wardset/wardset-tls",
            "- --tls-dir=/etc/wardset/tls",
            "secretName: wardset-tls",
            "dnsNames: [wardset.wardset.svc]",
        ],
        &["kind: Secret", "resources: [secrets]", "- --secret=wardset-certificates", "caBundle: QQ=="],
    ),
    (
        &["--set=certificates.certManager.enabled=true,certificates.certManager.issuerRef.name=corporate"],
        &["kind: Certificate", "name: corporate"],
        &["kind: Issuer", "isCA: true"],
    ),
    (
        &["--set=certificates.existingSecret=mine,certificates.caBundle=QQ=="],
        &["secretName: mine", "caBundle: QQ==", "- --tls-dir=/etc/wardset/tls"],
        &["kind: Secret", "resources: [secrets]"],
    ),
    (
        &["--set=webhooks.clientConfigUrl=https://192.0.2.1:8443,certificates.caBundle=QQ==,replicas=0"],
        &["url: https://192.0.2.1:8443/mutate", "url: https://192.0.2.1:8443/validate-policy", "replicas: 0"],
        &["service: {name: wardset, namespace: wardset, port: 443, path: /mutate}"],
    ),
    (
        &["--set=aks.disableAdmissionsEnforcer=true"],
        &["admissions.enforcer/disabled: \"true\""],
        &["cert-manager.io/inject-ca-from: wardset/wardset-tls"],
    ),
    (
        &[
            "--set=networkPolicy.enabled=true,networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus",
        ],
        &["kind: NetworkPolicy", "app: prometheus", "- {port: 6443, protocol: TCP}"],
        &[],
    ),
    (
        &["--set=clientCA.configMap=clients"],
        &["- --client-ca=/etc/wardset/client-ca/ca.crt", "name: clients"],
        &[],
    ),
    (
        &["--set=registries.pullSecrets={modules,more.modules},registries.ca.configMap=corporate,\
           registries.insecure={localhost:5000},registries.allow={registry.example.com/team},\
           registries.tagIntervalSeconds=600,registries.trust.secret=rules"],
        &[
            "- --registry-auth=/etc/wardset/pull-secrets/modules.json",
            "- --registry-auth=/etc/wardset/pull-secrets/more.modules.json",
            "- {name: pull-secrets, mountPath: /etc/wardset/pull-secrets, readOnly: true}",
            "- {key: .dockerconfigjson, path: more.modules.json}",
            "- --registry-ca=/etc/wardset/registry-ca/ca.crt",
            "name: corporate",
            "- {key: ca.crt, path: ca.crt}",
            "- --insecure-registry=localhost:5000",
            "- --allow-registry=registry.example.com/team",
            "- --tag-interval-seconds=600",
            "- --trust=/etc/wardset/trust/trust.yaml",
            "secretName: rules",
        ],
        &["- {key: trust.yaml, path: trust.yaml}", "resources: [secrets, configmaps]"],
    ),
    (
        &["--set=networkPolicy.enabled=true,networkPolicy.registryPorts={5000}"],
        &["- {port: 53, protocol: UDP}", "- {port: 5000, protocol: TCP}"],
        &[],
    ),
    (
        &["--set=image.repository=registry.example/wardset,image.digest=sha256:\
           0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        &["image: registry.example/wardset@sha256:\
           0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        &["kind: Namespace"],
    ),
    (
        &[
            "--set=webhooks.failurePolicy=Ignore,webhooks.excludeNamespaces={storage,network},webhooks.ignoreLabel=",
        ],
        &["- storage", "- network"],
        &["failurePolicy: Fail", "- key: wardset.dev/ignore"],
    ),
    (
        &["--set=crds.keep=false,priorityClassName=,annotations.owner=platform,labels.team=platform"],
        &["kind: CustomResourceDefinition", "owner: platform", "team: platform"],
        &[
            "helm.sh/resource-policy: keep",
            "kind: ResourceQuota",
            "priorityClassName: system-cluster-critical",
        ],
    ),
    (
        &["--set-json=affinity={\"nodeAffinity\":{\"note\":\"mine\"}}"],
        &["note: mine", "podAntiAffinity:", "- weight: 100"],
        &[],
    ),
    (
        &["--set-json=affinity={\"podAntiAffinity\":{}}"],
        &["podAntiAffinity: {}"],
        &["podAntiAffinity:", "- weight: 100"],
    ),
    (&["--set=crds.install=false"], &["kind: Deployment"], &["kind: CustomResourceDefinition"]),
];

/// Returns a line for each wrong result: accepted bad values, refused good values, and objects that differ from the
/// request.
pub(crate) fn problems(helm: &Helm) -> Vec<String> {
    let mut problems = Vec::new();
    for (args, words) in REFUSED {
        let line = args.join(" ");
        match helm.render(args) {
            Ok(_) => problems.push(format!("the chart takes `{line}`; expected a refusal with `{words}`")),
            Err(error) => {
                let said = format!("{error:#}");
                if !said.contains(words) {
                    problems.push(format!("the chart refuses `{line}`: expected `{words}`, found: {said}"));
                }
            }
        }
    }
    for (args, wanted, unwanted) in RENDERED {
        let line = args.join(" ");
        let args = [&["--namespace=wardset"], *args].concat();
        match helm.render(&args) {
            Ok(text) => {
                let has = |line: &str| text.lines().any(|one| one.trim() == line);
                problems.extend(wanted.iter().filter(|line| !has(line)).map(|missing| {
                    format!("the chart with `{line}`: expected a line `{missing}`, found none")
                }));
                problems.extend(
                    unwanted.iter().filter(|line| has(line)).map(|extra| {
                        format!("the chart with `{line}`: expected no line `{extra}`, found one")
                    }),
                );
            }
            Err(error) => problems.push(format!("the chart with `{line}`: {error:#}")),
        }
    }
    problems
}
