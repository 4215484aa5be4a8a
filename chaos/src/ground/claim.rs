//! What a guest makes for itself in a cluster of the user's own, and how it is known again: by a label that is there from the first
//! moment. What exists without the label belongs to somebody else.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::cluster::Error;
use crate::install::Kubectl;
use crate::wait::wait_for;

/// The label of everything that chaos makes in a cluster of the user's own, and its value.
pub const MADE_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "pgsteer-chaos");

/// The pods of a database have a grace of a minute.
const REMOVE_LIMIT: Duration = Duration::from_mins(5);

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It does not exist.
    Nobody,
    /// An earlier command of ours made it.
    Chaos,
    /// Somebody else did.
    Other,
}

fn owner_of<K: ResourceExt>(found: Option<&K>) -> Owner {
    let (label, value) = MADE_BY;
    match found {
        None => Owner::Nobody,
        Some(object) if object.labels().get(label).is_some_and(|found| found == value) => Owner::Chaos,
        Some(_) => Owner::Other,
    }
}

/// Whose a namespace is.
pub(super) async fn owner(client: &Client, namespace: &str) -> Result<Owner, Error> {
    let found = Api::<Namespace>::all(client.clone()).get_opt(namespace).await;
    let found = found.map_err(Error::api(format!("show namespace {namespace}")))?;
    Ok(owner_of(found.as_ref()))
}

/// Makes a namespace, or finds that an earlier command of ours made it. [`Error::NotOurs`] when somebody else did.
pub(super) async fn namespace(client: &Client, name: &str) -> Result<(), Error> {
    let (label, value) = MADE_BY;
    let object = json!({"metadata": {"name": name, "labels": {label: value}}});
    let object: Namespace = serde_json::from_value(object).expect("a namespace");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    #[expect(clippy::disallowed_methods, reason = "a namespace of chaos's own")]
    let created = namespaces.create(&PostParams::default(), &object).await;
    match created {
        Ok(_) => Ok(()),
        // Who was first decides, so that nothing can come in between a look and the creation.
        Err(kube::Error::Api(status)) if status.is_already_exists() => match owner(client, name).await? {
            Owner::Chaos => Ok(()),
            Owner::Nobody | Owner::Other => Err(taken(name)),
        },
        Err(error) => Err(Error::api(format!("make namespace {name}"))(error)),
    }
}

/// A namespace of somebody else's is where ours would be.
pub(super) fn taken(namespace: &str) -> Error {
    Error::NotOurs {
        what: format!("namespace {namespace} exists, and chaos did not make it"),
        hint: "it is left alone; use a cluster without it".to_owned(),
    }
}

/// Makes the custom resource definition of a file where there is none yet; one that somebody else made is used as it is.
pub(super) async fn definition(kubectl: Kubectl<'_>, file: &Path) -> Result<(), Error> {
    let (label, value) = MADE_BY;
    let (file, label) = (file.display().to_string(), format!("{label}={value}"));
    let labelled = kubectl
        .run(&["label", "--local", "-f", &file, &label, "-o", "yaml"], None)
        .await?;
    match kubectl.run(&["create", "-f", "-"], Some(labelled)).await {
        Err(Error::Command { said, .. }) if said.contains("AlreadyExists") => Ok(()),
        created => created.map(drop),
    }
}

/// Deletes those of the namespaces that are ours, and waits until they are gone.
pub(super) async fn remove_namespaces(client: &Client, names: &[&str]) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut ours = Vec::new();
    for name in names {
        if owner(client, name).await? == Owner::Chaos {
            #[expect(clippy::disallowed_methods, reason = "a namespace of chaos's own")]
            let deleted = namespaces.delete(name, &DeleteParams::default()).await;
            deleted.map_err(Error::api(format!("delete namespace {name}")))?;
            ours.push(*name);
        }
    }
    for name in ours {
        let what = format!("namespace {name} to be gone");
        let gone = wait_for(&what, REMOVE_LIMIT, || async {
            match namespaces.get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(still) => Err(left_in(&still)),
            }
        });
        gone.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))?;
    }
    Ok(())
}

/// What a namespace says of what keeps it.
fn left_in(namespace: &Namespace) -> String {
    let conditions = namespace
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let told: Vec<&str> = conditions
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.as_deref())
        .collect();
    if told.is_empty() {
        "it is being emptied".to_owned()
    } else {
        told.join("; ")
    }
}

/// Deletes the definitions of these files that are ours and hold no object any more. Tells of those that stay.
pub(super) async fn remove_definitions(
    client: &Client,
    kubectl: Kubectl<'_>,
    files: &[std::path::PathBuf],
) -> Result<Vec<String>, Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut left = Vec::new();
    for file in files {
        let file = file.display().to_string();
        let name = kubectl
            .run(
                &[
                    "create",
                    "--dry-run=client",
                    "-f",
                    &file,
                    "-o",
                    "jsonpath={.metadata.name}",
                ],
                None,
            )
            .await?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let found = definitions
            .get_opt(&name)
            .await
            .map_err(Error::api(format!("show {name}")))?;
        match (owner_of(found.as_ref()), found) {
            (Owner::Chaos, Some(definition)) => {
                if is_in_use(client, &definition).await? {
                    left.push(format!("{name} stays: somebody has made objects of it"));
                    continue;
                }
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a definition of chaos's own, of which no object is left"
                )]
                let deleted = definitions.delete(&name, &DeleteParams::default()).await;
                deleted.map_err(Error::api(format!("delete {name}")))?;
                // It goes once the API server has looked for objects of it; until then nobody can make it anew.
                let what = format!("{name} to be gone");
                let gone = wait_for(&what, REMOVE_LIMIT, || async {
                    match definitions.get_opt(&name).await.map_err(|error| error.to_string())? {
                        None => Ok(()),
                        Some(_) => Err("it is still there".to_owned()),
                    }
                });
                gone.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))?;
            }
            (Owner::Other, _) => left.push(format!("{name} stays: it was there before")),
            (Owner::Nobody, _) | (_, None) => {}
        }
    }
    Ok(left)
}

async fn is_in_use(client: &Client, definition: &CustomResourceDefinition) -> Result<bool, Error> {
    let (spec, names) = (&definition.spec, &definition.spec.names);
    let version = spec.versions.first().map_or("", |version| version.name.as_str());
    let kind = kube::core::GroupVersionKind::gvk(&spec.group, version, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let listed = objects.list(&ListParams::default().limit(1)).await;
    let listed = listed.map_err(Error::api(format!("list {}", names.plural)))?;
    Ok(!listed.items.is_empty())
}
