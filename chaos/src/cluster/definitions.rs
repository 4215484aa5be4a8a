//! pgsteer's custom resources on an API server of a test's own.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use serde::de::DeserializeOwned;
use shared::ledger::PostgresLedger;
use shared::route::PostgresRoute;

use super::{ControlPlane, Error};
use crate::wait::wait_for;

/// A new kind is served within a second on an idle host, and within ten on a busy one.
const SERVED_LIMIT: Duration = Duration::from_mins(1);

impl ControlPlane {
    /// Makes PostgresRoute and PostgresLedger known, and waits until both are served. A schema that the API server finds not structural
    /// (it would prune nothing) is an error.
    pub async fn define_resources(&self) -> Result<(), Error> {
        define::<PostgresRoute>(&self.client()).await?;
        define::<PostgresLedger>(&self.client()).await
    }
}

async fn define<K>(client: &Client) -> Result<(), Error>
where
    K: CustomResourceExt + kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = K::crd();
    let name = definition.name_any();
    #[expect(clippy::disallowed_methods, reason = "the test installs; there is no controller yet")]
    let created = definitions.create(&PostParams::default(), &definition).await;
    created.map_err(Error::api(format!("take {name}")))?;
    let objects: Api<K> = Api::all(client.clone());
    let what = format!("{name} to be served");
    let served = wait_for(&what, SERVED_LIMIT, || async {
        let found = definitions.get(&name).await.map_err(|error| error.to_string())?;
        let conditions = found.status.unwrap_or_default().conditions.unwrap_or_default();
        let structural = conditions
            .iter()
            .find(|one| one.type_ == "NonStructuralSchema" && one.status == "True");
        if let Some(wrong) = structural {
            let hint = wrong.message.clone().unwrap_or_default();
            return Ok(Err(Error::NoSuch {
                what: format!("a structural schema of {name}"),
                hint,
            }));
        }
        let listed = objects.list(&ListParams::default().limit(1)).await;
        listed.map(|_| Ok(())).map_err(|error| error.to_string())
    });
    served.await.map_err(|timed_out| Error::timed_out(timed_out, &[]))?
}
