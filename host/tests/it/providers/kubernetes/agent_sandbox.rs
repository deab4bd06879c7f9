//! Sandboxes that are objects of the agent-sandbox project, in a cluster that has its resource.
//!
//! The project's controller is in no package registry, so a test cannot install it. A small one stands in for it here: it
//! makes the Pod of each `Sandbox` as the project's does, under the same name, and makes another one when that is gone. The
//! cluster removes the Pod of a `Sandbox` that was deleted, with either controller.

use super::*;

const GROUP: &str = "agents.x-k8s.io";

/// The setting of the plugin.
const AGENT_SANDBOX: &str = "workload = \"agent-sandbox\"";

/// How often the controller looks.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster with the resource, and a controller for one namespace of it.
struct Controlled(Namespace);

impl Controlled {
    async fn new() -> Option<Self> {
        static CLUSTER: OnceCell<Option<Arc<Cluster>>> = OnceCell::const_new();
        let cluster = CLUSTER.get_or_init(async || {
            let cluster = Cluster::start().await?;
            let names = json!({ "plural": "sandboxes", "singular": "sandbox", "kind": "Sandbox" });
            let schema =
                json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
            let version = json!({ "name": "v1beta1", "served": true, "storage": true, "schema": schema });
            let spec = json!({ "group": GROUP, "scope": "Namespaced", "names": names, "versions": [version] });
            let definition = json!({ "metadata": { "name": format!("sandboxes.{GROUP}") }, "spec": spec });
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            cluster.must(Method::POST, path, &definition.to_string()).await;
            let served = format!("/apis/{GROUP}/v1beta1/sandboxes");
            let asked = async || (cluster.ask(Method::GET, &served, "").await.0 == 200).then_some(());
            eventually("the resource to be served", asked).await;
            Some(Arc::new(cluster))
        });
        let controlled = Controlled(Namespace::within(cluster.await.clone()?).await);
        tokio::spawn(control(controlled.0.cluster.clone(), controlled.path(), controlled.0.path("")));
        Some(controlled)
    }

    /// Where its objects are.
    fn path(&self) -> String {
        format!("/apis/{GROUP}/v1beta1/namespaces/{}/sandboxes", self.0.name)
    }

    /// The names of its objects and their labels.
    async fn objects(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let list = self.0.cluster.must(Method::GET, &self.path(), "").await;
        labelled(list["items"].as_array().unwrap())
    }
}

/// Makes the Pods that are missing, until the test ends.
async fn control(cluster: Arc<Cluster>, objects: String, pods: String) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let (_, list) = cluster.ask(Method::GET, &objects, "").await;
        for object in list["items"].as_array().into_iter().flatten() {
            let (name, template) = (&object["metadata"]["name"], &object["spec"]["podTemplate"]);
            let owner = json!({
                "apiVersion": object["apiVersion"], "kind": object["kind"], "name": name,
                "uid": object["metadata"]["uid"], "controller": true,
            });
            let metadata =
                json!({ "name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner] });
            let pod = json!({ "metadata": metadata, "spec": template["spec"] });
            // Refused while there is one.
            let (status, made) = cluster.ask(Method::POST, &pods, &pod.to_string()).await;
            let name = name.as_str().unwrap();
            // The Sandbox may have been deleted meanwhile. The cluster would remove the Pod too, but takes half a minute to
            // learn of a new kind of owner.
            if status == 201 && cluster.ask(Method::GET, &format!("{objects}/{name}"), "").await.0 == 404 {
                let only = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": made["metadata"]["uid"] } });
                cluster.ask(Method::DELETE, &format!("{pods}/{name}"), &only.to_string()).await;
            }
        }
    }
}

impl Bed for Controlled {
    fn section(&self) -> String {
        Namespace::section(&self.0, "box", AGENT_SANDBOX)
    }

    async fn sandboxes(&self, _: &Broker) -> BTreeMap<String, BTreeMap<String, String>> {
        self.objects().await
    }

    async fn foreign(&self) -> Option<String> {
        let theirs: serde_json::Value = serde_json::from_str(&pod("theirs", &json!({}))).unwrap();
        let metadata = json!({ "name": "theirs", "labels": { "app": "theirs" } });
        let object = json!({
            "apiVersion": format!("{GROUP}/v1beta1"), "kind": "Sandbox", "metadata": metadata,
            "spec": { "podTemplate": { "spec": theirs["spec"] } },
        });
        self.0.cluster.must(Method::POST, &self.path(), &object.to_string()).await;
        Some("theirs".to_owned())
    }
}

on_every_provider! { Controlled::new:
    a_shell_computes_and_its_exit_ends_the_sandbox,
    a_broker_that_is_killed_costs_no_byte,
    a_sandbox_carries_its_labels_and_foreign_ones_are_left_alone,
    what_a_killed_broker_leaves_is_ended_by_the_next,
    an_orphan_without_a_journal_is_found_by_its_labels,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_replaced_is_not_taken_for_the_sandbox() {
    let Some(controlled) = Controlled::new().await else { return };
    let namespace = &controlled.0;
    let provider = provider_of(&controlled.section()).await;
    let sandbox = create(&provider).await;
    assert_eq!(shell(&provider, &sandbox, "echo $((6*7))").await.0, "42\n");
    let again = provider.connect(&call(), &sandbox, Duration::from_secs(60)).await.unwrap();
    assert_eq!(again.id, sandbox.id);
    let at_once = json!({ "gracePeriodSeconds": 0 }).to_string();
    let pod = namespace.path(&sandbox.id);
    let uid = async || namespace.cluster.ask(Method::GET, &pod, "").await.1["metadata"]["uid"].clone();
    let first = uid().await;
    namespace.cluster.must(Method::DELETE, &pod, &at_once).await;
    let other = async || {
        let found = uid().await;
        (found.is_string() && found != first).then_some(())
    };
    eventually("another Pod of the same name", other).await;
    let replaced = provider.connect(&call(), &sandbox, Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(replaced.code, Code::NotFound, "{replaced}");
    assert!(replaced.message.contains("has made another one in its place"), "{replaced}");
    provider.kill(&call(), &sandbox).await.unwrap();
    assert!(controlled.objects().await.is_empty());
    namespace.has(0).await;
    // One that is gone is gone.
    provider.kill(&call(), &sandbox).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_agent_sandbox_is_told_with_the_remedy() {
    let Some((namespace, provider)) = bed(AGENT_SANDBOX).await else { return };
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition, "{error}");
    assert!(error.message.contains("can install agent-sandbox"), "{error}");
    namespace.has(0).await;
}
