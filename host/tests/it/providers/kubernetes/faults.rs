//! What cannot work says who has to act: rights, quotas, images, nodes, addresses.

use super::*;

/// Why a sandbox cannot be made, after which none is left.
async fn refused(namespace: &Namespace, settings: &str) -> Error {
    let provider = provider_of(&namespace.section("box", settings)).await;
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    namespace.has(0).await;
    error
}

fn told(error: &Error, code: Code, says: &[&str]) {
    assert_eq!(error.code, code, "{error}");
    for words in says {
        assert!(error.message.contains(words), "{words} in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_a_bad_token_and_a_missing_namespace_name_their_remedy() {
    let Some(namespace) = Namespace::new().await else { return };
    let ready = provider_of(&namespace.section("box", "")).await;
    let sandbox = create(&ready).await;
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/sandbox-broker", namespace.name);
    // A connection to a process is a GET, for which this cluster asks for `create` as well.
    for verbs in [json!(["create"]), json!(["get"])] {
        let rules = json!({ "rules": [
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"] },
            { "apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs },
        ] });
        namespace.cluster.must(Method::PATCH, &role, &rules.to_string()).await;
        let denied = async || ready.run(&call(), &sandbox, &command(&["true"]), mpsc::channel(1).1).await.err();
        let error = eventually("the right to be gone", denied).await;
        told(&error, Code::PermissionDenied, &["contrib/kubernetes/rbac.yaml", "pods/exec"]);
    }
    let denied = provider_of(&namespace.section("box", "")).await.create(&call(), &spec(&[])).await.unwrap_err();
    told(&denied, Code::PermissionDenied, &["cannot create resource \"pods\""]);
    ready.kill(&call(), &sandbox).await.unwrap();
    namespace.has(0).await;

    let absent = refused(&namespace, "").await;
    told(&absent, Code::PermissionDenied, &[]);
    namespace.put_token("not-a-token-at-all");
    told(&refused(&namespace, "").await, Code::Unauthenticated, &["`secrets.token`"]);

    // The administrator may look for a namespace that there is not.
    namespace.put_token(namespace.cluster.admin());
    let section = namespace.section("box", "").replace(&format!("{:?}", namespace.name), "\"no-such-namespace\"");
    let error = provider_of(&section).await.create(&call(), &spec(&[])).await.unwrap_err();
    told(&error, Code::FailedPrecondition, &["no namespace no-such-namespace"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_told_and_free_again_when_a_sandbox_has_ended() {
    let Some((namespace, provider)) = bed("").await else { return };
    let quota = json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "1" } } }).to_string();
    let path = format!("/api/v1/namespaces/{}/resourcequotas", namespace.name);
    namespace.cluster.must(Method::POST, &path, &quota).await;
    let counted = format!("{path}/few");
    let used = async |n: &str| {
        eventually("the quota to count", async || {
            let (_, quota) = namespace.cluster.ask(Method::GET, &counted, "").await;
            (quota["status"]["used"]["pods"] == n).then_some(())
        })
        .await;
    };
    used("0").await;
    let first = create(&provider).await;
    used("1").await;
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    told(&error, Code::ResourceExhausted, &["quota", "used: pods=1"]);
    provider.kill(&call(), &first).await.unwrap();
    used("0").await;
    create(&provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_start_is_told_with_its_reason_and_leaves_nothing() {
    let Some(namespace) = Namespace::new().await else { return };
    let section = |settings: &str| namespace.section("box", settings);
    let failed = async |section: String| {
        let provider = provider_of(&section).await;
        let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
        namespace.has(0).await;
        error
    };
    let absent = |policy: &str| {
        let section = section("").replace("local.invalid/shell:1", "local.invalid/absent:1");
        section.replace("image_pull_policy = \"Never\"", &format!("image_pull_policy = \"{policy}\""))
    };
    told(&failed(absent("Never")).await, Code::FailedPrecondition, &["the node has no such image"]);
    told(
        &failed(absent("IfNotPresent")).await,
        Code::FailedPrecondition,
        &["cannot pull the image", "image_pull_secrets"],
    );
    let nowhere = section("node_selector = { no = \"where\" }")
        .replace("[providers.box.config]", "[providers.box.limits]\ncall_timeout = \"6s\"\n[providers.box.config]");
    told(
        &failed(nowhere).await,
        Code::DeadlineExceeded,
        &["waiting for a node: 0/1 nodes are available", "call_timeout"],
    );
    let root = section("security = { run_as_user = 0, allow_root = true }");
    told(&failed(root).await, Code::FailedPrecondition, &["tighten `security`", "runAsNonRoot"]);
    told(&failed(section("command = [\"/no/such\"]")).await, Code::FailedPrecondition, &["/no/such"]);
    told(&failed(section("limits = { cpu = \"lots\" }")).await, Code::InvalidArgument, &["quantities"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_no_api_server_is_told() {
    let Some(namespace) = Namespace::new().await else { return };
    let (url, ca) = (format!("{}/elsewhere", namespace.cluster.address), namespace.cluster.run.join("ca.crt"));
    let provider = provider_of(&namespace.section_by(&url, &ca, "box", "")).await;
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    assert!(matches!(error.code, Code::FailedPrecondition | Code::PermissionDenied), "{error}");
}
